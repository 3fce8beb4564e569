package js

import "github.com/dop251/goja/ast"

// declarations notes every name that a function declares, those of the functions
// in it included. Names are not told apart by scope: a name that is local
// anywhere counts as local everywhere, and where it is not, strict mode makes
// its use an error.
func (a *plainness) declarations(e ast.Node) {
	switch e := e.(type) {
	case *ast.FunctionLiteral:
		if e.Name != nil {
			a.name(e.Name)
		}
		a.parameters(e.ParameterList)
		a.declareAll(e.Body.List)
	case *ast.ArrowFunctionLiteral:
		a.parameters(e.ParameterList)
		switch b := e.Body.(type) {
		case *ast.BlockStatement:
			a.declareAll(b.List)
		case *ast.ExpressionBody:
			a.declarations(b.Expression)
		}
	default:
		a.declareChildren(e)
	}
}

func (a *plainness) parameters(l *ast.ParameterList) {
	if l.Rest != nil {
		a.refuse()
	}
	a.declareBindings(l.List)
}

func (a *plainness) declareBindings(list []*ast.Binding) {
	for _, b := range list {
		a.name(b.Target)
		a.declarations(b.Initializer)
	}
}

func (a *plainness) declareAll(list []ast.Statement) {
	for _, s := range list {
		a.declareIn(s)
	}
}

// declareIn notes what a statement declares.
func (a *plainness) declareIn(s ast.Statement) {
	switch s := s.(type) {
	case *ast.VariableStatement:
		a.declareBindings(s.List)
	case *ast.LexicalDeclaration:
		a.declareBindings(s.List)
	case *ast.FunctionDeclaration:
		a.declarations(s.Function)
	case *ast.BlockStatement:
		if s != nil {
			a.declareAll(s.List)
		}
	case *ast.ExpressionStatement:
		a.declarations(s.Expression)
	case *ast.ReturnStatement:
		a.declarations(s.Argument)
	case *ast.ThrowStatement:
		a.declarations(s.Argument)
	case *ast.IfStatement:
		a.declarations(s.Test)
		a.declareAll([]ast.Statement{s.Consequent, s.Alternate})
	case *ast.LabelledStatement:
		a.declareIn(s.Statement)
	case *ast.SwitchStatement:
		a.declarations(s.Discriminant)
		for _, c := range s.Body {
			a.declarations(c.Test)
			a.declareAll(c.Consequent)
		}
	case *ast.TryStatement:
		a.declareIn(s.Body)
		if s.Catch != nil {
			if s.Catch.Parameter != nil {
				a.name(s.Catch.Parameter)
			}
			a.declareIn(s.Catch.Body)
		}
		a.declareIn(s.Finally)
	default:
		a.declareLoop(s)
	}
}

func (a *plainness) declareLoop(s ast.Statement) {
	switch s := s.(type) {
	case *ast.WhileStatement:
		a.declarations(s.Test)
		a.declareIn(s.Body)
	case *ast.DoWhileStatement:
		a.declarations(s.Test)
		a.declareIn(s.Body)
	case *ast.ForStatement:
		switch i := s.Initializer.(type) {
		case *ast.ForLoopInitializerExpression:
			a.declarations(i.Expression)
		case *ast.ForLoopInitializerVarDeclList:
			a.declareBindings(i.List)
		case *ast.ForLoopInitializerLexicalDecl:
			a.declareBindings(i.LexicalDeclaration.List)
		}
		a.declarations(s.Test)
		a.declarations(s.Update)
		a.declareIn(s.Body)
	case *ast.ForInStatement:
		a.declareInto(s.Into)
		a.declarations(s.Source)
		a.declareIn(s.Body)
	case *ast.ForOfStatement:
		a.declareInto(s.Into)
		a.declarations(s.Source)
		a.declareIn(s.Body)
	}
}

func (a *plainness) declareInto(f ast.ForInto) {
	switch f := f.(type) {
	case *ast.ForIntoVar:
		a.declareBindings([]*ast.Binding{f.Binding})
	case *ast.ForDeclaration:
		a.name(f.Target)
	}
}

// declareChildren looks for functions in an expression that is none itself.
func (a *plainness) declareChildren(e ast.Node) {
	switch e := e.(type) {
	case *ast.ArrayLiteral:
		a.declareList(e.Value)
	case *ast.SequenceExpression:
		a.declareList(e.Sequence)
	case *ast.ObjectLiteral:
		for _, p := range e.Value {
			if k, ok := p.(*ast.PropertyKeyed); ok {
				a.declareList([]ast.Expression{k.Key, k.Value})
			}
		}
	case *ast.ConditionalExpression:
		a.declareList([]ast.Expression{e.Test, e.Consequent, e.Alternate})
	case *ast.DotExpression:
		a.declarations(e.Left)
	case *ast.BracketExpression:
		a.declareList([]ast.Expression{e.Left, e.Member})
	case *ast.Optional:
		a.declarations(e.Expression)
	case *ast.OptionalChain:
		a.declarations(e.Expression)
	case *ast.UnaryExpression:
		a.declarations(e.Operand)
	case *ast.BinaryExpression:
		a.declareList([]ast.Expression{e.Left, e.Right})
	case *ast.AssignExpression:
		a.declareList([]ast.Expression{e.Left, e.Right})
	case *ast.TemplateLiteral:
		a.declareList(e.Expressions)
	case *ast.CallExpression:
		a.declarations(e.Callee)
		a.declareList(e.ArgumentList)
	case *ast.NewExpression:
		a.declareList(e.ArgumentList)
	}
}

func (a *plainness) declareList(list []ast.Expression) {
	for _, e := range list {
		a.declarations(e)
	}
}
