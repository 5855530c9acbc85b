package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/system"
)

// Plan is what to measure.
type Plan struct {
	Systems   []system.System
	Workloads []Workload
	Rounds    int
	Cell      time.Duration
	Dir       string    // holds all data; on the disk under measure
	Progress  io.Writer // gets one line for each step
}

// Run starts every system, measures, and stops them all, also after an error
// or when ctx ends. The result holds what was measured until then.
func Run(ctx context.Context, p Plan) (res *Result, err error) {
	res = &Result{Rounds: p.Rounds, CellSeconds: p.Cell.Seconds(), Machine: DescribeMachine(p.Dir), Started: time.Now().UTC()}
	deployments := p.deployments()
	defer func() {
		for _, d := range slices.Backward(deployments) {
			p.say("stopping %s", d.Name())
			if stopErr := d.Stop(); stopErr != nil {
				err = errors.Join(err, fmt.Errorf("stop %s: %w", d.Name(), stopErr))
			}
		}
	}()
	listed := listedLocks()
	if err := p.startAll(ctx, deployments); err != nil {
		return res, err
	}
	for _, s := range p.Systems {
		res.Systems = append(res.Systems, SystemInfo{Name: s.Name(), Deployment: s.Deployment().Describe(), Operations: s.Describe()})
	}
	return res, p.measure(ctx, res, listed)
}

// measure runs all cells. In each round every system has its turn; who goes
// first changes from round to round.
func (p Plan) measure(ctx context.Context, res *Result, listed []*system.Lock) error {
	total := len(p.Workloads) * p.Rounds * len(p.Systems)
	began := time.Now()
	loaded := false
	for _, w := range p.Workloads {
		// Not before it is needed: what comes first finds the systems empty.
		if w.needsData() && !loaded {
			loaded = true
			if err := p.loadAll(ctx, listed); err != nil {
				return err
			}
		}
		for round := 1; round <= p.Rounds; round++ {
			noise, err := probe(p.Dir)
			if err != nil {
				return err
			}
			noise.Workload, noise.Round = w.Name(), round
			res.Noise = append(res.Noise, noise)
			for i := range p.Systems {
				s := p.Systems[(i+round-1)%len(p.Systems)]
				cell, err := runCell(ctx, w, s, round, p.Cell, listed)
				if err != nil {
					return err
				}
				res.Cells = append(res.Cells, cell)
				done := len(res.Cells)
				left := time.Duration(float64(time.Since(began)) / float64(done) * float64(total-done))
				p.say("[%*d/%d, %s left] %-9s round %d %-26s %s", len(fmt.Sprint(total)), done, total, left.Round(time.Second), w.Name(), round, s.Name(), cell.line())
			}
		}
	}
	return nil
}

func (c Cell) line() string {
	text := fmt.Sprintf("%8.0f/s  p50 %7.2f ms  p99 %7.2f ms", c.PerSecond, c.P50, c.P99)
	if c.Errors > 0 {
		text += fmt.Sprintf("  %d ERRORS, the first: %s", c.Errors, c.FirstError)
	}
	return text
}

func (p Plan) say(format string, args ...any) {
	fmt.Fprintf(p.Progress, format+"\n", args...)
}

func (p Plan) deployments() []system.Deployment {
	var ds []system.Deployment
	for _, s := range p.Systems {
		if !slices.Contains(ds, s.Deployment()) {
			ds = append(ds, s.Deployment())
		}
	}
	return ds
}

func (p Plan) startAll(ctx context.Context, ds []system.Deployment) error {
	for _, d := range ds {
		dir := filepath.Join(p.Dir, d.Name())
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make the directory of %s: %w", d.Name(), err)
		}
		p.say("starting %s", d.Name())
		if err := d.Start(ctx, dir); err != nil {
			return fmt.Errorf("start %s: %w", d.Name(), err)
		}
	}
	return nil
}

func (p Plan) loadAll(ctx context.Context, listed []*system.Lock) error {
	for _, d := range p.deployments() {
		p.say("storing %d locks in %s", len(listed), d.Name())
		if err := d.Load(ctx, listed); err != nil {
			return fmt.Errorf("store %d locks in %s: %w", len(listed), d.Name(), err)
		}
	}
	return nil
}

// Check tells all that is missing for the systems, before anything runs.
func Check(systems []system.System) error {
	var errs []error
	for _, d := range (Plan{Systems: systems}).deployments() {
		if err := d.Check(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
