package service_test

import (
	"context"
	"fmt"
	"iter"
	"os"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

// Greeting is a request: the value of the first field is the name.
type Greeting struct {
	Name  string `bson:"greet" doc:"whom to greet"`
	Times int    `bson:"times,omitempty"`
}

// call runs a command without a network.
func call(svc *service.Service, command bson.D) {
	body, err := bson.Marshal(command)
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	reply, err := server.Call(context.Background(), svc, server.NewRequest(nil, "test", body))
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
	}
	for _, field := range []string{"text", "errmsg"} {
		if v, ok := bson.Raw(reply).Lookup(field).StringValueOK(); ok {
			fmt.Fprintln(os.Stdout, v)
		}
	}
}

func ExampleHandle() {
	svc := service.New("hello", service.Config{})
	service.Handle(svc, service.Command{Name: "greet", Help: "Greets somebody."},
		func(_ context.Context, g Greeting) (bson.D, error) {
			if g.Name == "" {
				return nil, service.Errorf(2, "nobody to greet")
			}
			return bson.D{{Key: "text", Value: "hello " + g.Name}}, nil
		})
	call(svc, bson.D{{Key: "greet", Value: "world"}})
	call(svc, bson.D{{Key: "greet", Value: "world"}, {Key: "tims", Value: 3}})
	call(svc, bson.D{{Key: "greet", Value: ""}})
	// Output:
	// hello world
	// BSON field 'greet.tims' is an unknown field.
	// nobody to greet
}

func ExampleStream() {
	svc := service.New("numbers", service.Config{})
	service.Stream(svc, service.Command{Name: "count"}, func(_ context.Context, req struct{ To int32 }) iter.Seq2[bson.D, error] {
		return func(yield func(bson.D, error) bool) {
			for n := range req.To {
				if !yield(bson.D{{Key: "n", Value: n}}, nil) {
					return
				}
			}
		}
	})
	body, _ := bson.Marshal(bson.D{{Key: "count", Value: 1}, {Key: "to", Value: 3}})
	reply, _ := server.Call(context.Background(), svc, server.NewRequest(nil, "test", body))
	batch, _ := bson.Raw(reply).Lookup("cursor", "firstBatch").Array().Values()
	fmt.Fprintln(os.Stdout, len(batch), bson.Raw(reply).Lookup("cursor", "ns").StringValue())
	// Output:
	// 3 test.$cmd.count
}
