package loadgen

import (
	"encoding/binary"
	"iter"
	"math"
	"math/rand/v2"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// perCustomer is the number of documents that share a customer, the indexed field.
const perCustomer = 20

// Regions are the values of the field "region", eight of them, evenly spread.
func Regions() []string {
	return []string{"africa", "antarctica", "asia", "caribbean", "europe", "north-america", "oceania", "south-america"}
}

// epoch is the date of document 0 in milliseconds, 2024-01-01; document i is i seconds later.
const epoch = 1_704_067_200_000

var (
	firstNames = []string{"Ada", "Björn", "Chidi", "Dolores", "Emeka", "Fatima", "Grace", "Haruki", "Inés", "Jamal", "Kirra", "Lěi"}
	lastNames  = []string{"Álvarez", "Brown", "Chen", "Dubois", "Eriksen", "Fischer", "García", "Haddad", "Ivanova", "Jones", "Kowalski"}
	cities     = []string{"Accra", "Bergen", "Córdoba", "Dakar", "Edinburgh", "Fukuoka", "Graz", "Hobart", "Izmir", "Jaipur"}
	tags       = []string{"early", "loyal", "trial", "vip", "wholesale", "press", "student", "partner"}
	statuses   = []string{"open", "paid", "packed", "shipped", "returned"}
	levels     = []string{"debug", "info", "info", "info", "warn", "error"}
	verbs      = []string{"accepted", "rejected", "retried", "timed out on", "closed", "opened", "rotated"}
	nouns      = []string{"connection", "segment", "checkout", "invoice", "session", "upload", "certificate"}
)

// Generate yields n documents: three in ten are users, four orders with arrays of sub-documents, three log events.
// A yielded document is valid until the next one.
func Generate(seed uint64, n int) iter.Seq[bson.Raw] {
	return func(yield func(bson.Raw) bool) {
		g := NewGenerator(seed, n)
		for i := range n {
			if !yield(g.Document(i)) {
				return
			}
		}
	}
}

// Generator makes the documents of one seed in any order. It is for one goroutine.
type Generator struct {
	seed      uint64
	customers int
	pcg       *rand.PCG
	r         *rand.Rand
	b         builder
}

// NewGenerator returns the generator of a collection of n documents.
func NewGenerator(seed uint64, n int) *Generator {
	pcg := rand.NewPCG(seed, 0)
	return &Generator{seed: seed, customers: Customers(n), pcg: pcg, r: rand.New(pcg)}
}

// Customers is the number of distinct values of "customer" among n documents.
func Customers(n int) int { return max(1, n/perCustomer) }

// Document returns the document at a position; its _id is the position as an int64. It is valid until the next call.
func (g *Generator) Document(i int) bson.Raw {
	g.pcg.Seed(g.seed, uint64(i))
	b := &g.b
	b.reset()
	b.int64("_id", int64(i))
	b.int64("customer", int64(i%g.customers))
	b.string("region", pick(g.r, Regions()))
	b.date("at", epoch+1000*int64(i))
	b.double("score", math.Round(g.r.Float64()*1e6)/1e4)
	switch k := i % 10; {
	case k < 3:
		g.user(b)
	case k < 7:
		g.order(b)
	default:
		g.event(b)
	}
	return b.finish()
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (g *Generator) user(b *builder) {
	first, last := pick(g.r, firstNames), pick(g.r, lastNames)
	b.string("kind", "user")
	b.string("name", first+" "+last)
	b.string("email", "user"+strconv.Itoa(g.r.IntN(1e9))+"@example.org")
	b.int32("age", int32(18+g.r.IntN(70)))
	b.bool("active", g.r.IntN(4) > 0)
	b.open("address", bson.TypeEmbeddedDocument)
	b.string("city", pick(g.r, cities))
	b.string("zip", strconv.Itoa(10000+g.r.IntN(89999)))
	b.open("position", bson.TypeArray)
	b.double("0", g.r.Float64()*360-180)
	b.double("1", g.r.Float64()*180-90)
	b.close()
	b.close()
	b.open("tags", bson.TypeArray)
	for i := range g.r.IntN(4) {
		b.string(strconv.Itoa(i), pick(g.r, tags))
	}
	b.close()
	b.null("deleted")
}

func (g *Generator) order(b *builder) {
	b.string("kind", "order")
	b.string("status", pick(g.r, statuses))
	b.open("items", bson.TypeArray)
	total := int64(0)
	for i := range 1 + g.r.IntN(5) {
		quantity, cents := int64(1+g.r.IntN(9)), int64(99+g.r.IntN(20000))
		total += quantity * cents
		b.open(strconv.Itoa(i), bson.TypeEmbeddedDocument)
		b.string("sku", "SKU-"+strconv.Itoa(g.r.IntN(5000)))
		b.int32("quantity", int32(quantity))
		b.cents("price", cents)
		b.close()
	}
	b.close()
	b.cents("total", total)
	b.open("delivery", bson.TypeEmbeddedDocument)
	b.string("city", pick(g.r, cities))
	b.bool("express", g.r.IntN(5) == 0)
	b.close()
}

func (g *Generator) event(b *builder) {
	b.string("kind", "event")
	b.string("level", pick(g.r, levels))
	b.string("message", pick(g.r, verbs)+" "+pick(g.r, nouns)+" "+strconv.Itoa(g.r.IntN(1e6)))
	b.string("host", "node-"+strconv.Itoa(g.r.IntN(64)))
	b.int32("ms", int32(g.r.ExpFloat64()*40))
	b.open("context", bson.TypeEmbeddedDocument)
	b.int64("bytes", g.r.Int64N(1<<34))
	b.bool("sampled", g.r.IntN(10) == 0)
	b.close()
	b.binary("trace", binary.LittleEndian.AppendUint64(nil, g.r.Uint64()))
}
