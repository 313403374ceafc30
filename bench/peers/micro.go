// SPDX-License-Identifier: MIT
// The peer Go in the micro benchmarks: the counterparts of bench/micro.c, on one core. One JSON line each.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

func report(name string, count int, start time.Time) {
	ns := float64(time.Since(start).Nanoseconds()) / float64(count)
	fmt.Printf("{\"name\":\"%s\",\"ns\":%.2f,\"count\":%d}\n", name, ns, count)
}

func yield() {
	const count = 200000
	var done sync.WaitGroup
	done.Add(2)
	start := time.Now()
	for t := 0; t < 2; t++ {
		go func() {
			for i := 0; i < count/2; i++ {
				runtime.Gosched()
			}
			done.Done()
		}()
	}
	done.Wait()
	report("yield", count, start)
}

func spawnJoin() {
	const count = 50000
	var done sync.WaitGroup
	start := time.Now()
	for i := 0; i < count; i++ {
		done.Add(1)
		go func() { done.Done() }()
		done.Wait()
	}
	report("spawn_join", count, start)
}

func spawnMany() {
	const count, batch = 50000, 1000
	var done sync.WaitGroup
	start := time.Now()
	for i := 0; i < count/batch; i++ {
		done.Add(batch)
		for k := 0; k < batch; k++ {
			go func() { done.Done() }()
		}
		done.Wait()
	}
	report("spawn_join_batch", count, start)
}

func channel(name string, room int) {
	const count = 200000
	ch := make(chan int64, room)
	start := time.Now()
	go func() {
		for i := int64(0); i < count; i++ {
			ch <- i
		}
		close(ch)
	}()
	for range ch {
	}
	report(name, count, start)
}

func mutex() {
	const count = 500000
	var m sync.Mutex
	start := time.Now()
	for i := 0; i < count; i++ {
		m.Lock()
		m.Unlock()
	}
	report("mutex_uncontended", count, start)
}

func sleep() {
	const count = 50
	start := time.Now()
	for i := 0; i < count; i++ {
		time.Sleep(100 * time.Microsecond)
	}
	report("sleep_100us", count, start)
}

func main() {
	for k := 0; k < 7; k++ {
		yield()
		spawnJoin()
		spawnMany()
		channel("chan_buffered", 64)
		channel("chan_one", 1)
		mutex()
		sleep()
	}
}
