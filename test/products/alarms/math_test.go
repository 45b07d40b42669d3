// Package alarms evaluates the alarms of the template as CloudWatch does.
package alarms

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// The part of CloudWatch's metric math that the template uses.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html

// series are the values of a metric by period. A period that is not in the map has no data.
type series map[int]float64

// formula is a parsed expression.
type formula func(s *scope, period int) (value float64, present bool)

// scope has what an expression refers to.
type scope struct {
	named map[string]formula
	start time.Time // of period 0
	width time.Duration
}

var tokens = regexp.MustCompile(`\s*([A-Za-z_]\w*|\d+(?:\.\d+)?|==|!=|>=|<=|&&|\|\||[-+*/()<>,])`)

type parser struct {
	rest []string
	err  error
}

func parse(expression string) (formula, error) {
	p := &parser{}
	end := 0
	for _, at := range tokens.FindAllStringSubmatchIndex(expression, -1) {
		if at[0] != end {
			break
		}
		p.rest, end = append(p.rest, expression[at[2]:at[3]]), at[1]
	}
	if end != len(expression) {
		return nil, fmt.Errorf("metric math: unknown text %q", expression[end:])
	}
	f := p.or()
	if p.err == nil && len(p.rest) > 0 {
		p.err = fmt.Errorf("metric math: unexpected %q", p.rest[0])
	}
	return f, p.err
}

// next takes the next token if it is one of these.
func (p *parser) next(wanted ...string) (string, bool) {
	for _, a := range wanted {
		if len(p.rest) > 0 && p.rest[0] == a {
			p.rest = p.rest[1:]
			return a, true
		}
	}
	return "", false
}

// binary parses a chain of operators of one precedence.
func (p *parser) binary(operand func() formula, operators ...string) formula {
	left := operand()
	for {
		operator, ok := p.next(operators...)
		if !ok {
			return left
		}
		a, b := left, operand()
		left = func(s *scope, period int) (float64, bool) {
			x, okX := a(s, period)
			y, okY := b(s, period)
			return apply(operator, x, y), okX && okY
		}
	}
}

func (p *parser) or() formula      { return p.binary(p.and, "OR", "||") }
func (p *parser) and() formula     { return p.binary(p.compare, "AND", "&&") }
func (p *parser) compare() formula { return p.binary(p.sum, "==", "!=", ">=", "<=", "<", ">") }
func (p *parser) sum() formula     { return p.binary(p.product, "+", "-") }
func (p *parser) product() formula { return p.binary(p.factor, "*", "/") }

func apply(operator string, x, y float64) float64 {
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	switch operator {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return x / y
	case "OR", "||":
		return truth(x != 0 || y != 0)
	case "AND", "&&":
		return truth(x != 0 && y != 0)
	case "==":
		return truth(x == y)
	case "!=":
		return truth(x != y)
	case ">=":
		return truth(x >= y)
	case "<=":
		return truth(x <= y)
	case "<":
		return truth(x < y)
	}
	return truth(x > y)
}

func (p *parser) factor() formula {
	if _, ok := p.next("("); ok {
		f := p.or()
		p.expect(")")
		return f
	}
	if len(p.rest) == 0 {
		p.fail("an operand is missing")
		return nil
	}
	word := p.rest[0]
	p.rest = p.rest[1:]
	if number, err := strconv.ParseFloat(word, 64); err == nil {
		return func(*scope, int) (float64, bool) { return number, true }
	}
	if _, ok := p.next("("); ok {
		return p.call(word)
	}
	return func(s *scope, period int) (float64, bool) {
		f, ok := s.named[word]
		if !ok {
			panic("metric math: nothing has the id " + word)
		}
		return f(s, period)
	}
}

func (p *parser) call(name string) formula {
	arguments := []formula{p.or()}
	for {
		if _, more := p.next(","); !more {
			break
		}
		arguments = append(arguments, p.or())
	}
	p.expect(")")
	count := map[string]int{"FILL": 2, "IF": 3, "MINUTE": 1, "FLOOR": 1}[name]
	if count != len(arguments) {
		p.fail(fmt.Sprintf("%s with %d arguments is not supported", name, len(arguments)))
		return nil
	}
	return func(s *scope, period int) (float64, bool) {
		first, present := arguments[0](s, period)
		switch name {
		case "FILL":
			if present {
				return first, true
			}
			return arguments[1](s, period)
		case "IF":
			if first != 0 {
				return arguments[1](s, period)
			}
			return arguments[2](s, period)
		case "MINUTE":
			return float64(s.start.Add(time.Duration(period) * s.width).UTC().Minute()), present
		}
		return math.Floor(first), present
	}
}

func (p *parser) expect(token string) {
	if _, ok := p.next(token); !ok {
		p.fail(token + " is missing")
	}
}

func (p *parser) fail(text string) {
	if p.err == nil {
		p.err = fmt.Errorf("metric math: %s", text)
	}
	p.rest = nil
}
