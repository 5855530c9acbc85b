package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
)

const (
	samplesMax  = 4096 // a report; more between two reports are left out
	reportEvery = time.Second
)

// sample is one decided request, on its way to the leader, which judges the
// health of both systems for the whole cluster.
type sample struct {
	System    lockcluster.System `json:"s"`
	Operation string             `json:"o"`
	Duration  time.Duration      `json:"d"`
	Failed    bool               `json:"f,omitempty"`
}

type samples struct {
	mu   sync.Mutex // guards list
	list []sample
}

func (s *samples) add(one sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) < samplesMax {
		s.list = append(s.list, one)
	}
}

func (s *samples) take() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return list
}

// report tells the leader what this node has seen.
func (c *Controller) report() {
	for c.sleep(c.ctx, reportEvery) {
		if t := c.currentTerm(); t != nil && c.cfg.Metrics != nil {
			c.cfg.Metrics.MirrorPending(c.changed.size() + t.toEnhanced.size())
		}
		leader, addr := c.node.Leader()
		if addr == "" {
			continue // they wait for the next leader
		}
		list := c.samples.take()
		if leader == c.cfg.NodeID {
			c.window(list)
			continue
		}
		if len(list) == 0 {
			continue
		}
		body, err := json.Marshal(list)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(c.ctx, reportEvery)
		_, _ = c.ask(ctx, addr, methodWindow, body) // a lost report is a smaller sample
		cancel()
	}
}

func (c *Controller) serveWindow(body []byte) ([]byte, error) {
	var list []sample
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", lockcluster.ErrInvalid, err)
	}
	c.window(list)
	return nil, nil
}

// window takes samples into the leader's picture of the cluster.
func (c *Controller) window(list []sample) {
	if c.cfg.Window == nil {
		return
	}
	for _, one := range list {
		c.cfg.Window.Observe(one.System, one.Operation, one.Duration, one.Failed)
	}
}
