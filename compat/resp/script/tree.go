package script

import (
	"fmt"

	"github.com/yuin/gopher-lua/ast"
)

const (
	// depthMax bounds how deep a script's syntax may nest; compiling recurses.
	depthMax = 500
	// concatName is the function that replaces the operator "..". No script can
	// write such a name.
	concatName = "\x00concat"
)

// rewrite bounds the depth of a syntax tree and replaces "..", which can make
// strings of any length in one step, by a call.
type rewrite struct{ depth int }

type depthError struct{ line int }

func (e depthError) Error() string {
	return fmt.Sprintf("user_script:%d: chunk has too many syntax levels", e.line)
}

func (r *rewrite) chunk(stmts []ast.Stmt) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d, ok := p.(depthError)
			if !ok {
				panic(p)
			}
			err = d
		}
	}()
	r.block(stmts)
	return nil
}

func (r *rewrite) enter(at ast.PositionHolder) {
	if r.depth++; r.depth > depthMax {
		panic(depthError{at.Line()})
	}
}

func (r *rewrite) leave() { r.depth-- }

func (r *rewrite) block(stmts []ast.Stmt) {
	for _, s := range stmts {
		r.enter(s)
		r.stmt(s)
		r.leave()
	}
}

func (r *rewrite) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		r.all(s.Lhs)
		r.all(s.Rhs)
	case *ast.LocalAssignStmt:
		r.all(s.Exprs)
	case *ast.FuncCallStmt:
		r.expr(&s.Expr)
	case *ast.DoBlockStmt:
		r.block(s.Stmts)
	case *ast.WhileStmt:
		r.expr(&s.Condition)
		r.block(s.Stmts)
	case *ast.RepeatStmt:
		r.expr(&s.Condition)
		r.block(s.Stmts)
	case *ast.IfStmt:
		r.expr(&s.Condition)
		r.block(s.Then)
		r.block(s.Else)
	case *ast.NumberForStmt:
		r.expr(&s.Init)
		r.expr(&s.Limit)
		r.expr(&s.Step)
		r.block(s.Stmts)
	case *ast.GenericForStmt:
		r.all(s.Exprs)
		r.block(s.Stmts)
	case *ast.FuncDefStmt:
		r.expr(&s.Name.Func)
		r.expr(&s.Name.Receiver)
		r.block(s.Func.Stmts)
	case *ast.ReturnStmt:
		r.all(s.Exprs)
	}
}

func (r *rewrite) all(exprs []ast.Expr) {
	for i := range exprs {
		r.expr(&exprs[i])
	}
}

func (r *rewrite) expr(at *ast.Expr) {
	if *at == nil {
		return
	}
	r.enter(*at)
	defer r.leave()
	switch e := (*at).(type) {
	case *ast.AttrGetExpr:
		r.expr(&e.Object)
		r.expr(&e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			r.expr(&f.Key)
			r.expr(&f.Value)
		}
	case *ast.FuncCallExpr:
		r.expr(&e.Func)
		r.expr(&e.Receiver)
		r.all(e.Args)
	case *ast.LogicalOpExpr:
		r.expr(&e.Lhs)
		r.expr(&e.Rhs)
	case *ast.RelationalOpExpr:
		r.expr(&e.Lhs)
		r.expr(&e.Rhs)
	case *ast.ArithmeticOpExpr:
		r.expr(&e.Lhs)
		r.expr(&e.Rhs)
	case *ast.UnaryMinusOpExpr:
		r.expr(&e.Expr)
	case *ast.UnaryNotOpExpr:
		r.expr(&e.Expr)
	case *ast.UnaryLenOpExpr:
		r.expr(&e.Expr)
	case *ast.FunctionExpr:
		r.block(e.Stmts)
	case *ast.StringConcatOpExpr:
		*at = r.concat(e)
	}
}

// operandsMax is how many operands one call of the replacement takes: the
// interpreter's registers are few.
const operandsMax = 50

// concat turns a .. b .. c into one call, or a tree of calls when there are
// many: concatenation of strings is associative.
func (r *rewrite) concat(e *ast.StringConcatOpExpr) ast.Expr {
	var operands []ast.Expr
	var last ast.Expr = e
	for {
		c, ok := last.(*ast.StringConcatOpExpr)
		if !ok {
			break
		}
		operands = append(operands, c.Lhs)
		last = c.Rhs
	}
	operands = append(operands, last)
	r.all(operands)
	oneValue(operands[len(operands)-1])
	for len(operands) > operandsMax {
		tail := operands[len(operands)-operandsMax:]
		call := concatCall(e, append([]ast.Expr(nil), tail...))
		operands = append(operands[:len(operands)-operandsMax], call)
	}
	return concatCall(e, operands)
}

// oneValue keeps the last operand from giving more than one argument.
func oneValue(e ast.Expr) {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		e.AdjustRet = true
	case *ast.Comma3Expr:
		e.AdjustRet = true
	}
}

func concatCall(e *ast.StringConcatOpExpr, operands []ast.Expr) ast.Expr {
	name := &ast.IdentExpr{Value: concatName}
	call := &ast.FuncCallExpr{Func: name, Args: operands, AdjustRet: true}
	for _, n := range []ast.PositionHolder{name, call} {
		n.SetLine(e.Line())
		n.SetLastLine(e.LastLine())
	}
	return call
}
