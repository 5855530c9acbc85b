package cluster_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
)

// BenchmarkDo is acquire and release on three nodes in one process, over TCP
// and on disk: on the leader, and on a follower that forwards in memory.
func BenchmarkDo(b *testing.B) {
	for _, store := range []string{cluster.LogStoreWAL, cluster.LogStoreBoltDB} {
		for _, where := range []string{"leader", "follower"} {
			for _, clients := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%s/%d", store, where, clients), func(b *testing.B) {
					c := clustertest.Start(b, clustertest.Options{OnDisk: true, TCP: true, Configure: func(cfg *cluster.Config) { cfg.LogStore = store }})
					defer c.Stop()
					id := c.Leader()
					if where == "follower" {
						id = c.Followers()[0]
					}
					var n atomic.Int64
					value := make([]byte, 1000)
					b.SetParallelism(clients)
					b.ResetTimer()
					b.RunParallel(func(pb *testing.PB) {
						req := acquire(fmt.Sprintf("acme/app%d", n.Add(1)), 1)
						req.Value = value
						for pb.Next() {
							for _, r := range []lockcluster.Request{req, lockcluster.Release{Namespace: req.Key.Namespace, Text: req.Key.Text()}} {
								if _, err := c.Node(id).Do(b.Context(), lockcluster.RequestID{}, r); err != nil {
									b.Error(err)
								}
							}
						}
					})
				})
			}
		}
	}
}

// BenchmarkRead is a linearizable read on three nodes over TCP.
func BenchmarkRead(b *testing.B) {
	for _, where := range []string{"leader", "follower"} {
		for _, clients := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", where, clients), func(b *testing.B) {
				c := clustertest.Start(b, clustertest.Options{OnDisk: true, TCP: true})
				defer c.Stop()
				id := c.Leader()
				if where == "follower" {
					id = c.Followers()[0]
				}
				b.SetParallelism(clients)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := c.Node(id).View(b.Context()); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}
