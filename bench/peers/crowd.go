// SPDX-License-Identifier: MIT
// The peer Go as a crowd: the counterpart of bench/crowd.c, goroutines that all wait. One JSON line.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func statusKiB(key string) int {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, key) {
			kib, _ := strconv.Atoi(strings.Fields(line)[1])
			return kib
		}
	}
	return 0
}

func main() {
	const count = 100000
	var done sync.WaitGroup
	var waiting int64
	gate := make(chan bool)
	rss, tables := statusKiB("VmRSS:"), statusKiB("VmPTE:")
	start := time.Now()
	done.Add(count)
	for i := 0; i < count; i++ {
		go func() {
			atomic.AddInt64(&waiting, 1)
			<-gate
			done.Done()
		}()
	}
	for atomic.LoadInt64(&waiting) < count {
		runtime.Gosched()
	}
	spawned := time.Since(start)
	rss, tables = statusKiB("VmRSS:")-rss, statusKiB("VmPTE:")-tables
	start = time.Now()
	close(gate)
	done.Wait()
	fmt.Printf("{\"count\":%d,\"spawn_ns\":%d,\"join_ns\":%d,\"rss_kib\":%d,\"tables_kib\":%d}\n",
		count, spawned.Nanoseconds(), time.Since(start).Nanoseconds(), rss, tables)
}
