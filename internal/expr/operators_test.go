package expr

import (
	"context"
	"math"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"pgregory.net/rapid"
)

// operatorTests are expressions over the document of testDoc. want is relaxed
// Extended JSON; without it, code is the error's.
var operatorTests = []struct {
	expr string
	want string
	code mongoerr.Code
}{
	// arithmetic
	{expr: `{'$abs': -5}`, want: `5`},
	{expr: `{'$abs': {'$numberInt': '-2147483648'}}`, want: `{'$numberLong': '2147483648'}`},
	{expr: `{'$abs': '$s'}`, code: 28765},
	{expr: `{'$add': ['$i', '$l', 0.5]}`, want: `{'$numberDouble': '50.5'}`},
	{expr: `{'$add': ['$d', 1000]}`, want: `{'$date': 2000}`},
	{expr: `{'$add': []}`, want: `0`},
	{expr: `{'$add': [0.1, 0.2, {'$numberDecimal': '0.3'}]}`, want: `{'$numberDecimal': '0.6000000000000000166533453693773481'}`},
	{expr: `{'$add': ['$i', '$s']}`, code: mongoerr.TypeMismatch},
	{expr: `{'$ceil': 1.2}`, want: `2.0`},
	{expr: `{'$divide': ['$i', 2]}`, want: `3.5`},
	{expr: `{'$divide': ['$i', 0]}`, code: mongoerr.BadValue},
	{expr: `{'$exp': 0}`, want: `1.0`},
	{expr: `{'$floor': {'$numberDecimal': '-1.5'}}`, want: `{'$numberDecimal': '-2'}`},
	{expr: `{'$ln': 1}`, want: `0.0`},
	{expr: `{'$ln': 0}`, code: 28766},
	{expr: `{'$log': [8, 2]}`, want: `3.0`},
	{expr: `{'$log10': 1000}`, want: `3.0`},
	{expr: `{'$mod': [-7, 3]}`, want: `-1`},
	{expr: `{'$mod': [7, 0]}`, code: 16610},
	{expr: `{'$multiply': [2147483647, 2]}`, want: `{'$numberLong': '4294967294'}`},
	{expr: `{'$multiply': [{'$numberLong': '9223372036854775807'}, 2]}`, want: `{'$numberDouble': '1.8446744073709552e19'}`},
	{expr: `{'$pow': [2, 40]}`, want: `{'$numberLong': '1099511627776'}`},
	{expr: `{'$pow': [2, -1]}`, want: `0.5`},
	{expr: `{'$pow': [{'$numberDecimal': '2'}, 0.5]}`, want: `{'$numberDecimal': '1.414213562373095048801688724209698'}`},
	{expr: `{'$round': [2.5]}`, want: `2.0`},
	{expr: `{'$round': [1.005, 101]}`, code: 51083},
	{expr: `{'$sigmoid': 0}`, want: `0.5`},
	{expr: `{'$sqrt': {'$numberDecimal': '2'}}`, want: `{'$numberDecimal': '1.414213562373095048801688724209698'}`},
	{expr: `{'$sqrt': -1}`, code: 28714},
	{expr: `{'$subtract': ['$d', '$d']}`, want: `{'$numberLong': '0'}`},
	{expr: `{'$trunc': [-1234.567, 2]}`, want: `-1234.56`},

	// trigonometry; values from tables of the functions
	{expr: `{'$acos': {'$numberDecimal': '0.5'}}`, want: `{'$numberDecimal': '1.047197551196597746154214461093168'}`},
	{expr: `{'$acosh': {'$numberDecimal': '2'}}`, want: `{'$numberDecimal': '1.316957896924816708625046347307968'}`},
	{expr: `{'$asin': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '1.570796326794896619231321691639751'}`},
	{expr: `{'$asin': 2}`, code: 50989},
	{expr: `{'$asinh': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '0.8813735870195430252326093249797923'}`},
	{expr: `{'$atan': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '0.7853981633974483096156608458198757'}`},
	{expr: `{'$atan2': [{'$numberDecimal': '-1'}, -1]}`, want: `{'$numberDecimal': '-2.356194490192344928846982537459627'}`},
	{expr: `{'$atanh': {'$numberDecimal': '0.5'}}`, want: `{'$numberDecimal': '0.5493061443340548456976226184612629'}`},
	{expr: `{'$cos': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '0.5403023058681397174009366074429766'}`},
	{expr: `{'$cosh': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '1.543080634815243778477905620757062'}`},
	{expr: `{'$degreesToRadians': 180}`, want: `3.141592653589793`},
	{expr: `{'$radiansToDegrees': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '57.29577951308232087679815481410517'}`},
	{expr: `{'$sin': {'$numberDecimal': '1E+22'}}`, want: `{'$numberDecimal': '-0.8522008497671888017727058937530294'}`},
	{expr: `{'$sin': {'$numberDouble': 'Infinity'}}`, code: 50989},
	{expr: `{'$sinh': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '1.175201193643801456882381850595601'}`},
	{expr: `{'$tan': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '1.557407724654902230506974807458360'}`},
	{expr: `{'$tanh': {'$numberDecimal': '1'}}`, want: `{'$numberDecimal': '0.7615941559557648881194582826047936'}`},

	// bitwise
	{expr: `{'$bitAnd': [12, 10]}`, want: `8`},
	{expr: `{'$bitAnd': []}`, want: `-1`},
	{expr: `{'$bitOr': [12, {'$numberLong': '3'}]}`, want: `{'$numberLong': '15'}`},
	{expr: `{'$bitXor': [12, 10]}`, want: `6`},
	{expr: `{'$bitXor': [12, null]}`, want: `null`},
	{expr: `{'$bitNot': 5}`, want: `-6`},
	{expr: `{'$bitNot': 5.5}`, code: mongoerr.TypeMismatch},

	// boolean, comparison, conditional
	{expr: `{'$and': ['$i', {'$gt': ['$l', 100]}]}`, want: `false`},
	{expr: `{'$and': []}`, want: `true`},
	{expr: `{'$or': [{'$eq': ['$i', 7]}, {'$divide': [1, '$zero']}]}`, want: `true`},
	{expr: `{'$not': ['$zero']}`, want: `true`},
	{expr: `{'$cmp': ['$i', '$s']}`, want: `-1`},
	{expr: `{'$eq': [1, 1.0]}`, want: `true`},
	{expr: `{'$gt': ['$s', 'a']}`, want: `true`},
	{expr: `{'$gte': ['$missing', null]}`, want: `false`},
	{expr: `{'$lt': [1]}`, code: 16020},
	{expr: `{'$lte': [2, 2]}`, want: `true`},
	{expr: `{'$ne': ['$i', 7]}`, want: `false`},
	{expr: `{'$cond': ['$zero', {'$divide': [1, '$zero']}, 'no']}`, want: `'no'`},
	{expr: `{'$cond': {'if': true, 'then': 1}}`, code: 17082},
	{expr: `{'$cond': [true, 1, {'$divide': [1, 0]}]}`, want: `1`},
	{expr: `{'$ifNull': ['$missing', null, '$i']}`, want: `7`},
	{expr: `{'$switch': {'branches': [{'case': '$zero', 'then': 1}, {'case': '$i', 'then': 2}]}}`, want: `2`},
	{expr: `{'$switch': {'branches': [{'case': '$zero', 'then': 1}]}}`, code: 40066},
	{expr: `{'$switch': {'branches': []}}`, code: 40068},

	// variables, literals
	{expr: `{'$let': {'vars': {'a': '$i', 'b': 1}, 'in': {'$add': ['$$a', '$$b']}}}`, want: `8`},
	{expr: `{'$let': {'vars': {'a': 1, 'b': {'$let': {'vars': {'c': '$i'}, 'in': '$$c'}}}, 'in': ['$$a', '$$b']}}`, want: `[1, 7]`},
	{expr: `{'$let': {'vars': {'CURRENT': '$o'}, 'in': '$p'}}`, want: `'in'`},
	{expr: `{'$let': {'vars': {'A': 1}, 'in': 1}}`, code: mongoerr.FailedToParse},
	{expr: `'$$x'`, code: 17276},
	{expr: `{'$literal': '$i'}`, want: `'$i'`},
	{expr: `{'$const': {'$add': 1}}`, want: `{'$add': 1}`},

	// strings
	{expr: `{'$concat': ['$s', '!']}`, want: `'héllo!'`},
	{expr: `{'$concat': ['$s', 1]}`, code: 16702},
	{expr: `{'$indexOfBytes': ['$s', 'l']}`, want: `3`},
	{expr: `{'$indexOfCP': ['$s', 'l', 3]}`, want: `3`},
	{expr: `{'$ltrim': {'input': '  a '}}`, want: `'a '`},
	{expr: `{'$rtrim': {'input': 'xyx', 'chars': 'x'}}`, want: `'xy'`},
	{expr: `{'$trim': {'input': 'éaé', 'chars': 'é'}}`, want: `'a'`},
	{expr: `{'$trim': 'x'}`, code: 50696},
	{expr: `{'$replaceAll': {'input': 'abab', 'find': 'b', 'replacement': ''}}`, want: `'aa'`},
	{expr: `{'$replaceOne': {'input': 'abab', 'find': 'b', 'replacement': 'c'}}`, want: `'acab'`},
	{expr: `{'$split': ['a-b', '-']}`, want: `['a', 'b']`},
	{expr: `{'$split': ['a', '']}`, code: 40087},
	{expr: `{'$strLenBytes': '$s'}`, want: `6`},
	{expr: `{'$strLenCP': '$s'}`, want: `5`},
	{expr: `{'$strcasecmp': ['aB', 'Ab']}`, want: `0`},
	{expr: `{'$substr': ['$s', 0, 1]}`, want: `'h'`},
	{expr: `{'$substrBytes': ['$s', 2, 1]}`, code: 28656},
	{expr: `{'$substrCP': ['$s', 1, 2]}`, want: `'él'`},
	{expr: `{'$toLower': 'ÀB'}`, want: `'Àb'`},
	{expr: `{'$toUpper': 1.5}`, want: `'1.5'`},
	{expr: `{'$regexFind': {'input': '$s', 'regex': 'l(l)(x)?'}}`, want: `{'match': 'll', 'idx': 2, 'captures': ['l', null]}`},
	{expr: `{'$regexFindAll': {'input': 'aXbX', 'regex': 'x', 'options': 'i'}}`,
		want: `[{'match': 'X', 'idx': 1, 'captures': []}, {'match': 'X', 'idx': 3, 'captures': []}]`},
	{expr: `{'$regexMatch': {'input': '$s', 'regex': '^h'}}`, want: `true`},
	{expr: `{'$regexMatch': {'input': '$s', 'regex': '('}}`, code: 51111},

	// conversions
	{expr: `{'$convert': {'input': 'x', 'to': 'int', 'onError': 'bad'}}`, want: `'bad'`},
	{expr: `{'$convert': {'input': null, 'to': 'int', 'onNull': 0}}`, want: `0`},
	{expr: `{'$convert': {'input': 258, 'to': 'binData', 'byteOrder': 'big'}}`, want: `{'$binary': {'base64': 'AAABAg==', 'subType': '00'}}`},
	{expr: `{'$convert': {'input': 1, 'to': 'nonsense'}}`, code: mongoerr.BadValue},
	{expr: `{'$toBool': 'false'}`, want: `true`},
	{expr: `{'$toDate': '1970-01-01T00:00:01Z'}`, want: `{'$date': 1000}`},
	{expr: `{'$toDecimal': '1.50'}`, want: `{'$numberDecimal': '1.50'}`},
	{expr: `{'$toDouble': '+0x1.8p1'}`, want: `3.0`},
	{expr: `{'$toInt': -1.9}`, want: `-1`},
	{expr: `{'$toInt': 3000000000}`, code: mongoerr.ConversionFailure},
	{expr: `{'$toLong': '$d'}`, want: `{'$numberLong': '1000'}`},
	{expr: `{'$toObjectId': '0102030405060708090a0b0c'}`, want: `{'$oid': '0102030405060708090a0b0c'}`},
	{expr: `{'$toString': 1e21}`, want: `'1e+21'`},
	{expr: `{'$toUUID': '00000000-0000-0000-0000-000000000001'}`,
		want: `{'$binary': {'base64': 'AAAAAAAAAAAAAAAAAAAAAQ==', 'subType': '04'}}`},
	{expr: `{'$isNumber': '$i'}`, want: `true`},
	{expr: `{'$type': '$missing'}`, want: `'missing'`},

	// miscellaneous
	{expr: `{'$binarySize': '$s'}`, want: `6`},
	{expr: `{'$bsonSize': {}}`, want: `5`},
	{expr: `{'$bsonSize': 1}`, code: 31393},
	{expr: `{'$meta': 'textScore'}`, want: `1.5`},
	{expr: `{'$meta': 'x'}`, code: 17308},
	{expr: `{'$rand': {}}`, want: `0.25`},
	{expr: `{'$rand': 1}`, code: 3040501},
	{expr: `{'$toHashedIndexKey': 'hello'}`, want: `{'$numberLong': '5347277839332858538'}`},
	{expr: `{'$function': {'body': 'f', 'args': ['$i'], 'lang': 'js'}}`, want: `[7]`},
	{expr: `{'$function': {'body': 'f', 'args': [], 'lang': 'lua'}}`, code: 4660804},
}

const testDoc = `{'i': 7, 'l': {'$numberLong': '43'}, 's': 'héllo', 'd': {'$date': 1000}, 'zero': 0, 'o': {'p': 'in'}}`

// echo is a Script whose functions return their arguments.
type echo struct{}

func (echo) Call(_ context.Context, _ string, _ bsonval.Value, args []bsonval.Value) (bsonval.Value, error) {
	return bsonval.ArrayOf(args...), nil
}

func testEnv() *Env {
	return &Env{NowMS: 1000, Rand: func() float64 { return 0.25 }, JS: echo{}}
}

func evalTest(text string) (bsonval.Value, error) {
	c := NewCompiler(testEnv())
	e, err := c.Compile(mustEJSON(text))
	if err != nil {
		return bsonval.Missing, err
	}
	x := c.NewContext()
	x.Root = mustEJSON(testDoc).Doc()
	x.Meta = func(string) bsonval.Value { return bsonval.Double(1.5) }
	return e.Eval(x)
}

func TestOperators(t *testing.T) {
	tested := map[string]bool{}
	for _, test := range operatorTests {
		if d := mustEJSON(test.expr); d.Type() == bsonval.TypeDocument {
			name, _, _ := d.Doc().First()
			tested[name] = true
		}
		got, err := evalTest(test.expr)
		switch {
		case test.want == "":
			if !mongoerr.Is(err, test.code) {
				t.Errorf("%s = %s, %s, want error %d", test.expr, bsonval.Format(got), errorText(err), test.code)
			}
		case err != nil:
			t.Errorf("%s: %s", test.expr, errorText(err))
		case !bsonval.Identical(got, mustEJSON(test.want)):
			t.Errorf("%s = %s (%s), want %s", test.expr, bsonval.Format(got), got.Type(), test.want)
		}
	}
	for _, family := range [][]operator{
		arithmeticOperators, bitwiseOperators, booleanOperators, compareOperators, conditionalOperators, convertOperators,
		functionOperators, literalOperators, miscOperators, regexOperators, stringOperators, trigOperators, typeOperators,
		variableOperators,
	} {
		for _, op := range family {
			if !tested[op.name] {
				t.Errorf("%s has no test", op.name)
			}
		}
	}
}

func TestOperatorsHaveDocs(t *testing.T) {
	for _, op := range Operators() {
		if op.Doc == "" || op.Doc[len(op.Doc)-1] != '.' {
			t.Errorf("%s: %q is no sentence", op.Name, op.Doc)
		}
	}
}

// TestScalarsAllocateNothing holds the promise of the package comment.
func TestScalarsAllocateNothing(t *testing.T) {
	for _, text := range []string{
		`{'$add': ['$i', '$l', 1.5]}`, `{'$subtract': ['$d', '$d']}`, `{'$multiply': ['$i', 2]}`, `{'$divide': ['$i', 2]}`,
		`{'$eq': ['$s', 'x']}`, `{'$and': ['$i', {'$lt': ['$l', 100]}]}`, `{'$cond': ['$zero', 1, '$i']}`,
		`{'$ifNull': ['$missing', '$i']}`, `{'$toInt': '$l'}`, `{'$abs': '$i'}`, `{'$strLenCP': '$s'}`,
		`{'$let': {'vars': {'x': '$i'}, 'in': {'$add': ['$$x', 1]}}}`, `{'$sin': '$i'}`, `'$o.p'`,
	} {
		c := NewCompiler(testEnv())
		e, err := c.Compile(mustEJSON(text))
		if err != nil {
			t.Fatal(err)
		}
		x := c.NewContext()
		x.Root = mustEJSON(testDoc).Doc()
		if n := testing.AllocsPerRun(100, func() {
			if _, err := e.Eval(x); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

// TestDecimalFunctionsAgreeWithDoubles compares the decimal functions with the
// machine's to the digits that the latter have.
func TestDecimalFunctionsAgreeWithDoubles(t *testing.T) {
	for _, f := range []struct {
		name     string
		decimal  func(bsonval.Decimal) bsonval.Decimal
		double   func(float64) float64
		min, max float64
	}{
		{"exp", decimalExp, math.Exp, -50, 50}, {"ln", decimalLn, math.Log, 1e-9, 1e9},
		{"log10", decimalLog10, math.Log10, 1e-9, 1e9}, {"sqrt", decimalSqrt, math.Sqrt, 0, 1e12},
		{"sin", decimalSin, math.Sin, -100, 100}, {"cos", decimalCos, math.Cos, -100, 100},
		{"tan", decimalTan, math.Tan, -1.5, 1.5}, {"asin", decimalAsin, math.Asin, -1, 1},
		{"acos", decimalAcos, math.Acos, -1, 1}, {"atan", decimalAtan, math.Atan, -1e6, 1e6},
		{"sinh", decimalSinh, math.Sinh, -20, 20}, {"cosh", decimalCosh, math.Cosh, -20, 20},
		{"tanh", decimalTanh, math.Tanh, -20, 20}, {"asinh", decimalAsinh, math.Asinh, -1e6, 1e6},
		{"acosh", decimalAcosh, math.Acosh, 1, 1e6}, {"atanh", decimalAtanh, math.Atanh, -0.999, 0.999},
	} {
		t.Run(f.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				x := bsonval.DecimalFromDouble(rapid.Float64Range(f.min, f.max).Draw(t, "x"))
				got, want := f.decimal(x).Float64(), f.double(x.Float64())
				if math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
					t.Errorf("%s(%s) = %v, want %v", f.name, x, got, want)
				}
			})
		})
	}
}

// TestSumOfIntegersIsExact compares Sum with wrapping 64-bit addition where that
// does not wrap.
func TestSumOfIntegersIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := rapid.SliceOfN(rapid.Int64Range(-1<<58, 1<<58), 0, 30).Draw(t, "terms")
		var s, left, right Sum
		var want int64
		for i, n := range terms {
			s.Add(bsonval.Int64(n))
			if i%2 == 0 {
				left.Add(bsonval.Int64(n))
			} else {
				right.Add(bsonval.Int64(n))
			}
			want += n
		}
		left.Merge(&right)
		for _, got := range []*Sum{&s, &left} {
			if n, ok := got.Int64(); !ok || n != want {
				t.Errorf("sum of %v = %d, %v, want %d", terms, n, ok, want)
			}
		}
	})
}

// FuzzCompile compiles and evaluates arbitrary documents: nothing may panic, and
// results must be well-formed.
func FuzzCompile(f *testing.F) {
	doc := mustEJSON(testDoc).Doc()
	for _, test := range operatorTests {
		b := bsonval.NewBuilder().Value("e", mustEJSON(test.expr)).Build()
		f.Add([]byte(b), []byte(doc))
	}
	f.Fuzz(func(t *testing.T, spec, doc []byte) {
		if bsonval.Validate(spec) != nil || bsonval.Validate(doc) != nil {
			return
		}
		c := NewCompiler(testEnv())
		e, err := c.Compile(bsonval.Doc(spec).Lookup("e"))
		if err != nil {
			if mongoerr.As(err) == nil {
				t.Errorf("error without a code: %v", err)
			}
			return
		}
		x := c.NewContext()
		x.Root = doc
		v, err := e.Eval(x)
		switch {
		case err != nil:
			if mongoerr.As(err) == nil {
				t.Errorf("error without a code: %v", err)
			}
		case v.Type() == bsonval.TypeDocument || v.Type() == bsonval.TypeArray:
			if err := bsonval.Validate(v.Doc()); err != nil && err != bsonval.ErrTooDeep {
				t.Errorf("%v in the result", err)
			}
		}
	})
}

func BenchmarkEval(b *testing.B) {
	for name, text := range map[string]string{
		"add":  `{'$add': ['$i', '$l', 1]}`,
		"cond": `{'$cond': [{'$and': [{'$gt': ['$i', 3]}, {'$lt': ['$l', 100]}]}, '$s', 'no']}`,
		"path": `'$o.p'`,
	} {
		b.Run(name, func(b *testing.B) {
			c := NewCompiler(testEnv())
			e, err := c.Compile(mustEJSON(text))
			if err != nil {
				b.Fatal(err)
			}
			x := c.NewContext()
			x.Root = mustEJSON(testDoc).Doc()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Eval(x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
