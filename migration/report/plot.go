package report

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// The drawing, in units of the SVG.
const (
	plotWidth, plotHeight = 860.0, 240.0
	plotLeft, plotRight   = 64.0, 16.0
	plotTop, plotBottom   = 12.0, 28.0
)

// plot is one drawing: lines or bars over time.
type plot struct {
	Title  string
	About  string // what is drawn, for those who cannot see it
	Empty  bool
	Lines  []line
	Bars   []bar
	XTicks []tick
	YTicks []tick
}

type line struct {
	Name  string
	Class string // colour and dashes, in the page's style
	Path  string // SVG path
	Dots  []dot  // points without a neighbour
}

type dot struct{ X, Y string }

type bar struct {
	X, Y, Height string
	Class        string
	Label        string
}

type tick struct {
	At    string
	Label string
}

// series is what becomes a line; a value that is not a number is a gap.
type series struct {
	name, class string
	values      []float64
}

// scale maps values to the drawing.
type scale struct {
	low, high   float64
	from, to    float64
	logarithmic bool
}

func (s scale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.logarithmic {
		v, low, high = math.Log10(math.Max(v, s.low)), math.Log10(low), math.Log10(high)
	}
	if high == low {
		return s.from
	}
	return s.from + (v-low)/(high-low)*(s.to-s.from)
}

func coordinate(v float64) string { return fmt.Sprintf("%.1f", v) }

// drawLines draws series over the same times. format writes a value of the
// y axis.
func drawLines(title, about string, times []time.Time, all []series, logarithmic bool, format func(float64) string) plot {
	p := plot{Title: title, About: about}
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range all {
		for _, v := range s.values {
			if !math.IsNaN(v) {
				low, high = math.Min(low, v), math.Max(high, v)
			}
		}
	}
	if high < low || len(times) == 0 {
		p.Empty = true
		return p
	}
	y := verticalScale(low, high, logarithmic)
	x := timeScale(times[0], times[len(times)-1])
	for _, s := range all {
		p.Lines = append(p.Lines, drawLine(s, times, x, y))
	}
	p.XTicks, p.YTicks = timeTicks(times[0], times[len(times)-1], x), valueTicks(y, format)
	return p
}

func verticalScale(low, high float64, logarithmic bool) scale {
	s := scale{low: 0, high: niceAbove(high), from: plotHeight - plotBottom, to: plotTop, logarithmic: logarithmic}
	if logarithmic {
		s.low = math.Pow(10, math.Floor(math.Log10(low)))
		s.high = math.Pow(10, math.Ceil(math.Log10(high)))
		if s.high <= s.low {
			s.high = 10 * s.low
		}
	}
	return s
}

// niceAbove returns a number that is not below v and whose quarters are short.
func niceAbove(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

func timeScale(from, to time.Time) scale {
	return scale{low: 0, high: math.Max(to.Sub(from).Seconds(), 1), from: plotLeft, to: plotWidth - plotRight}
}

func drawLine(s series, times []time.Time, x, y scale) line {
	l := line{Name: s.name, Class: s.class}
	var path strings.Builder
	isGap := func(i int) bool { return i < 0 || i >= len(s.values) || math.IsNaN(s.values[i]) }
	for i, v := range s.values {
		if isGap(i) {
			continue
		}
		px, py := coordinate(x.at(times[i].Sub(times[0]).Seconds())), coordinate(y.at(v))
		switch {
		case isGap(i-1) && isGap(i+1):
			l.Dots = append(l.Dots, dot{px, py})
		case isGap(i - 1):
			path.WriteString("M" + px + " " + py)
		default:
			path.WriteString("L" + px + " " + py)
		}
	}
	l.Path = path.String()
	return l
}

func valueTicks(y scale, format func(float64) string) (ticks []tick) {
	if y.logarithmic {
		for v := y.low; v <= y.high*1.001; v *= 10 {
			ticks = append(ticks, tick{coordinate(y.at(v)), format(v)})
		}
		return ticks
	}
	for i := range 5 {
		v := y.low + (y.high-y.low)*float64(i)/4
		ticks = append(ticks, tick{coordinate(y.at(v)), format(v)})
	}
	return ticks
}

// timeTicks labels up to twelve round moments.
func timeTicks(from, to time.Time, x scale) (ticks []tick) {
	var step time.Duration
	for _, step = range []time.Duration{
		time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
		15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
		30 * 24 * time.Hour,
	} {
		if to.Sub(from) <= 8*step {
			break
		}
	}
	layout := "15:04:05"
	switch {
	case step >= 24*time.Hour:
		layout = "2 Jan"
	case to.Sub(from) > 20*time.Hour:
		layout = "2 Jan 15:04"
	case step >= time.Minute:
		layout = "15:04"
	}
	for at := from.UTC().Truncate(step); !at.After(to); at = at.Add(step) {
		if !at.Before(from) && len(ticks) < 12 {
			ticks = append(ticks, tick{coordinate(x.at(at.Sub(from).Seconds())), at.Format(layout)})
		}
	}
	return ticks
}
