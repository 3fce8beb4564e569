package js

import (
	"slices"
	"strings"
	"sync"

	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/token"
)

// maxPlainSource bounds the source of a plain function: the parser's recursion,
// too, must stay small in the database's own process.
const maxPlainSource = 8 << 10

// guardName is a global function that no script can name. It returns its
// argument, unless that is a string longer than a plain function may make.
const guardName = "+"

// plainness decides whether a function is plain and, on the way, wraps each
// addition that might make a long string into a call of the guard.
//
// Plain functions use a part of the language of which each step is short and
// takes little memory, so that what watches them can always end them; they keep
// nothing from one call to the next. That is most of what $where, $function and
// mapReduce are written in. The walk knows what is allowed; all else is not.
type plainness struct {
	declared map[string]bool // every name the function declares, wherever
	free     map[string]bool // the session's own functions that it calls
	this     bool            // it reads the this it is called with
	depth    int             // of functions that have a this of their own
	refused  bool
}

// plainGlobals may be called, and constructed where the value says so.
var plainGlobals = map[string]bool{
	"parseInt": false, "parseFloat": false, "isNaN": false, "isFinite": false, "String": false, "Number": false,
	"Boolean": false, "NumberInt": false, "ISODate": false, "UUID": false, "HexData": false, "hex_md5": false,
	"isNumber": false, "isString": false, "isObject": false, "tojson": false, "print": false,
	"NumberLong": true, "NumberDecimal": true, "ObjectId": true, "Timestamp": true, "BinData": true, "MinKey": true,
	"MaxKey": true, "Date": true, "Error": true, "TypeError": true, "RangeError": true,
}

// plainStatics are the globals whose functions may be called by name.
var plainStatics = map[string][]string{
	"Math":   nil, // all
	"Object": {"keys", "values"},
	"Array":  {"isArray", "sum", "avg", "contains", "unique", "stdDev"},
	"Number": {"isInteger", "isFinite", "isNaN", "isSafeInteger", "parseFloat", "parseInt"},
	"Date":   {"now", "UTC", "parse"},
	"String": {},
}

// plainConstants are the global values that may be read.
var plainConstants = map[string]bool{"undefined": true, "NaN": true, "Infinity": true}

// plainClasses may stand on the right of instanceof.
var plainClasses = map[string]bool{"Array": true, "Date": true, "Object": true, "RegExp": true, "Error": true, "ObjectId": true}

// callbackMethods call their first argument again and again without a pause in
// which they could be ended, unless it is JavaScript.
var callbackMethods = map[string]bool{
	"forEach": true, "map": true, "filter": true, "some": true, "every": true, "find": true, "findIndex": true,
	"reduce": true, "reduceRight": true, "sort": true,
}

// removedNames are the names of properties that the plain realm lacks and the
// full one has: functions that use them are not plain.
var removedNames = sync.OnceValue(func() map[string]bool { return newWorld(defaultDepth).harden() })

// analyse decides whether a parsed function is plain. If it is not, the tree
// must be thrown away: parts of it may have been wrapped.
func analyse(p *ast.Program) (plain bool, a *plainness) {
	a = &plainness{declared: map[string]bool{}, free: map[string]bool{}}
	s, ok := p.Body[0].(*ast.ExpressionStatement)
	if !ok || len(p.Body) != 1 {
		return false, a
	}
	a.declarations(s.Expression)
	s.Expression = a.expr(s.Expression)
	return !a.refused, a
}

func (a *plainness) refuse() { a.refused = true }

// name accepts a target that is a plain name, and declares it.
func (a *plainness) name(t ast.Expression) {
	id, ok := t.(*ast.Identifier)
	if !ok || id.Name == "arguments" || id.Name == "eval" {
		a.refuse()
		return
	}
	a.declared[string(id.Name)] = true
}

func (a *plainness) stmts(list []ast.Statement) {
	for _, s := range list {
		a.stmt(s)
	}
}

func (a *plainness) stmt(s ast.Statement) {
	switch s := s.(type) {
	case nil, *ast.EmptyStatement, *ast.BranchStatement:
	case *ast.BlockStatement:
		if s != nil {
			a.stmts(s.List)
		}
	case *ast.ExpressionStatement:
		s.Expression = a.expr(s.Expression)
	case *ast.IfStatement:
		s.Test = a.expr(s.Test)
		a.stmt(s.Consequent)
		a.stmt(s.Alternate)
	case *ast.ReturnStatement:
		s.Argument = a.expr(s.Argument)
	case *ast.ThrowStatement:
		s.Argument = a.expr(s.Argument)
	case *ast.VariableStatement:
		a.bindings(s.List)
	case *ast.LexicalDeclaration:
		a.bindings(s.List)
	case *ast.FunctionDeclaration:
		a.function(s.Function)
	case *ast.LabelledStatement:
		a.stmt(s.Statement)
	case *ast.TryStatement:
		a.stmt(s.Body)
		if s.Catch != nil {
			a.stmt(s.Catch.Body)
		}
		a.stmt(s.Finally)
	case *ast.SwitchStatement:
		s.Discriminant = a.expr(s.Discriminant)
		for _, c := range s.Body {
			c.Test = a.expr(c.Test)
			a.stmts(c.Consequent)
		}
	default:
		a.loop(s)
	}
}

func (a *plainness) loop(s ast.Statement) {
	switch s := s.(type) {
	case *ast.WhileStatement:
		s.Test = a.expr(s.Test)
		a.stmt(s.Body)
	case *ast.DoWhileStatement:
		s.Test = a.expr(s.Test)
		a.stmt(s.Body)
	case *ast.ForStatement:
		switch i := s.Initializer.(type) {
		case nil:
		case *ast.ForLoopInitializerExpression:
			i.Expression = a.expr(i.Expression)
		case *ast.ForLoopInitializerVarDeclList:
			a.bindings(i.List)
		case *ast.ForLoopInitializerLexicalDecl:
			a.bindings(i.LexicalDeclaration.List)
		default:
			a.refuse()
		}
		s.Test = a.expr(s.Test)
		s.Update = a.expr(s.Update)
		a.stmt(s.Body)
	case *ast.ForInStatement:
		a.into(s.Into)
		s.Source = a.expr(s.Source)
		a.stmt(s.Body)
	case *ast.ForOfStatement:
		a.into(s.Into)
		s.Source = a.expr(s.Source)
		a.stmt(s.Body)
	default:
		a.refuse()
	}
}

func (a *plainness) into(f ast.ForInto) {
	switch f := f.(type) {
	case *ast.ForIntoVar:
		a.bindings([]*ast.Binding{f.Binding})
	case *ast.ForDeclaration:
	case *ast.ForIntoExpression:
		f.Expression = a.target(f.Expression)
	default:
		a.refuse()
	}
}

func (a *plainness) bindings(list []*ast.Binding) {
	for _, b := range list {
		b.Initializer = a.expr(b.Initializer)
	}
}

func (a *plainness) function(f *ast.FunctionLiteral) {
	if f.Async || f.Generator {
		a.refuse()
		return
	}
	a.depth++
	a.bindings(f.ParameterList.List)
	a.stmt(f.Body)
	a.depth--
}

func (a *plainness) arrow(f *ast.ArrowFunctionLiteral) {
	if f.Async {
		a.refuse()
		return
	}
	a.bindings(f.ParameterList.List)
	switch b := f.Body.(type) {
	case *ast.BlockStatement:
		a.stmts(b.List)
	case *ast.ExpressionBody:
		b.Expression = a.expr(b.Expression)
	default:
		a.refuse()
	}
}

// expr accepts an expression and returns what is to stand in its place.
func (a *plainness) expr(e ast.Expression) ast.Expression {
	switch e := e.(type) {
	case nil, *ast.NullLiteral, *ast.BooleanLiteral, *ast.StringLiteral:
	case *ast.NumberLiteral:
		switch e.Value.(type) {
		case int64, float64:
		default:
			a.refuse() // a BigInt
		}
	case *ast.Identifier:
		if n := string(e.Name); !a.declared[n] && !plainConstants[n] {
			a.refuse()
		}
	case *ast.ThisExpression:
		if a.this = true; a.depth != 1 {
			a.refuse()
		}
	case *ast.FunctionLiteral:
		a.function(e)
	case *ast.ArrowFunctionLiteral:
		a.arrow(e)
	case *ast.ArrayLiteral:
		a.exprs(e.Value)
	case *ast.ObjectLiteral:
		a.object(e)
	case *ast.SequenceExpression:
		a.exprs(e.Sequence)
	case *ast.ConditionalExpression:
		e.Test, e.Consequent, e.Alternate = a.expr(e.Test), a.expr(e.Consequent), a.expr(e.Alternate)
	case *ast.DotExpression, *ast.BracketExpression:
		return a.member(e)
	case *ast.Optional:
		e.Expression = a.expr(e.Expression)
	case *ast.OptionalChain:
		e.Expression = a.expr(e.Expression)
	case *ast.UnaryExpression:
		a.unary(e)
	case *ast.TemplateLiteral:
		return a.template(e)
	case *ast.BinaryExpression:
		return a.binary(e)
	case *ast.AssignExpression:
		return a.assign(e)
	case *ast.CallExpression:
		a.call(e)
	case *ast.NewExpression:
		id, ok := e.Callee.(*ast.Identifier)
		if !ok || a.declared[string(id.Name)] || !plainGlobals[string(id.Name)] {
			a.refuse()
		}
		a.exprs(e.ArgumentList)
	default:
		a.refuse()
	}
	return e
}

func (a *plainness) exprs(list []ast.Expression) {
	for i, e := range list {
		list[i] = a.expr(e)
	}
}

func (a *plainness) object(o *ast.ObjectLiteral) {
	for _, p := range o.Value {
		switch p := p.(type) {
		case *ast.PropertyShort:
			a.expr(&p.Name)
		case *ast.PropertyKeyed:
			key, ok := p.Key.(*ast.StringLiteral)
			if p.Kind != ast.PropertyKindValue && p.Kind != ast.PropertyKindMethod || ok && key.Value == "__proto__" {
				a.refuse()
			}
			p.Key, p.Value = a.expr(p.Key), a.expr(p.Value)
		default:
			a.refuse()
		}
	}
}

func (a *plainness) property(name string) {
	if removedNames()[name] {
		a.refuse()
	}
}

// member accepts a member expression, read, written or called.
func (a *plainness) member(e ast.Expression) ast.Expression {
	switch e := e.(type) {
	case *ast.DotExpression:
		if id, ok := e.Left.(*ast.Identifier); ok && id.Name == "Math" && !a.declared["Math"] {
			return e
		}
		e.Left = a.expr(e.Left)
		a.property(string(e.Identifier.Name))
	case *ast.BracketExpression:
		e.Left, e.Member = a.expr(e.Left), a.expr(e.Member)
		if s, ok := e.Member.(*ast.StringLiteral); ok {
			a.property(string(s.Value))
		}
	}
	return e
}

// target accepts what may be assigned to.
func (a *plainness) target(e ast.Expression) ast.Expression {
	switch t := e.(type) {
	case *ast.Identifier:
		if !a.declared[string(t.Name)] {
			a.refuse()
		}
		return t
	case *ast.DotExpression:
		if id, ok := t.Left.(*ast.Identifier); ok && !a.declared[string(id.Name)] {
			a.refuse()
		}
		return a.member(t)
	case *ast.BracketExpression:
		return a.member(t)
	}
	a.refuse()
	return e
}

func (a *plainness) unary(e *ast.UnaryExpression) {
	switch e.Operator {
	case token.INCREMENT, token.DECREMENT, token.DELETE:
		e.Operand = a.target(e.Operand)
		if _, ok := e.Operand.(*ast.Identifier); ok && e.Operator == token.DELETE {
			a.refuse()
		}
	default:
		e.Operand = a.expr(e.Operand)
	}
}

// guarded wraps an expression that might make a long string.
func guarded(e ast.Expression) ast.Expression {
	return &ast.CallExpression{Callee: &ast.Identifier{Name: guardName, Idx: e.Idx0()}, ArgumentList: []ast.Expression{e}}
}

// short says that an operand's value cannot make a string much longer.
func short(e ast.Expression) bool {
	switch e := e.(type) {
	case *ast.NumberLiteral, *ast.StringLiteral, *ast.BooleanLiteral, *ast.NullLiteral, *ast.UnaryExpression:
		return true
	case *ast.BinaryExpression:
		switch e.Operator {
		case token.PLUS:
			return short(e.Left) && short(e.Right)
		case token.MINUS, token.MULTIPLY, token.SLASH, token.REMAINDER, token.EXPONENT:
			return true
		}
	}
	return false
}

func (a *plainness) binary(e *ast.BinaryExpression) ast.Expression {
	if id, ok := e.Right.(*ast.Identifier); ok && e.Operator == token.INSTANCEOF && plainClasses[string(id.Name)] &&
		!a.declared[string(id.Name)] {
		e.Left = a.expr(e.Left)
		return e
	}
	free := short(e.Left) || short(e.Right)
	e.Left, e.Right = a.expr(e.Left), a.expr(e.Right)
	if e.Operator == token.PLUS && !free {
		return guarded(e)
	}
	return e
}

func (a *plainness) assign(e *ast.AssignExpression) ast.Expression {
	free := short(e.Right)
	e.Left, e.Right = a.target(e.Left), a.expr(e.Right)
	if e.Operator != token.PLUS || free {
		return e
	}
	id, ok := e.Left.(*ast.Identifier)
	if !ok {
		return guarded(e)
	}
	// A variable is asked for its type first: sums of numbers are common.
	return &ast.SequenceExpression{Sequence: []ast.Expression{e, &ast.ConditionalExpression{
		Test: &ast.BinaryExpression{Operator: token.STRICT_EQUAL, Comparison: true,
			Left:  &ast.UnaryExpression{Operator: token.TYPEOF, Operand: id, Idx: id.Idx},
			Right: &ast.StringLiteral{Idx: id.Idx, Literal: `"string"`, Value: "string"}},
		Consequent: guarded(id), Alternate: id,
	}}}
}

// template accepts a template of few parts: they make one string at once.
func (a *plainness) template(e *ast.TemplateLiteral) ast.Expression {
	if e.Tag != nil || len(e.Expressions) > 4 {
		a.refuse()
	}
	a.exprs(e.Expressions)
	return guarded(e)
}

func (a *plainness) call(e *ast.CallExpression) {
	switch f := e.Callee.(type) {
	case *ast.Identifier:
		_, global := plainGlobals[string(f.Name)]
		if n := string(f.Name); !a.declared[n] && !global {
			a.free[n] = true
		}
	case *ast.DotExpression:
		a.method(f, e.ArgumentList)
		return
	case *ast.FunctionLiteral, *ast.ArrowFunctionLiteral:
		e.Callee = a.expr(f)
	default:
		a.refuse()
	}
	a.exprs(e.ArgumentList)
}

// method accepts a call of a method by its name.
func (a *plainness) method(f *ast.DotExpression, args []ast.Expression) {
	name := string(f.Identifier.Name)
	if id, ok := f.Left.(*ast.Identifier); ok && !a.declared[string(id.Name)] {
		names, ok := plainStatics[string(id.Name)]
		if !ok || names != nil && !slices.Contains(names, name) {
			a.refuse()
		}
		a.exprs(args)
		return
	}
	switch {
	case !plainMethods()[name]:
		a.refuse()
	case name == "test" || name == "exec":
		if r, ok := f.Left.(*ast.RegExpLiteral); !ok || !plainPattern(r) {
			a.refuse()
		}
		a.exprs(args)
		return
	case name == "match" || name == "search":
		if r, ok := first(args).(*ast.RegExpLiteral); !ok || !plainPattern(r) || len(args) != 1 {
			a.refuse()
		}
		f.Left = a.expr(f.Left)
		return
	case name == "split":
		if _, ok := first(args).(*ast.StringLiteral); !ok {
			a.refuse()
		}
	case name == "sort" && len(args) == 0:
	case callbackMethods[name]:
		switch first(args).(type) {
		case *ast.FunctionLiteral, *ast.ArrowFunctionLiteral:
		default:
			a.refuse()
		}
	}
	f.Left = a.expr(f.Left)
	a.exprs(args)
}

func first(list []ast.Expression) ast.Expression {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// plainPattern says whether a regular expression is one that the engine matches
// in linear time and soon.
func plainPattern(r *ast.RegExpLiteral) bool {
	if len(r.Pattern) > 100 || strings.Trim(r.Flags, "ims") != "" || strings.ContainsAny(r.Pattern, "{") {
		return false
	}
	for i := 0; i < len(r.Pattern); i++ {
		switch c := r.Pattern[i]; {
		case c >= 0x80:
			return false
		case c == '(' && i+1 < len(r.Pattern) && r.Pattern[i+1] == '?':
			if !strings.HasPrefix(r.Pattern[i:], "(?:") {
				return false
			}
		case c == '\\':
			if i++; i >= len(r.Pattern) || !strings.ContainsRune(`dDwWsStnrbB.^$*+?()[]{}|/\-`, rune(r.Pattern[i])) {
				return false
			}
		}
	}
	return true
}
