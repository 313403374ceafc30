// SPDX-License-Identifier: MIT
// The peer Go: a goroutine per connection. TCP_NODELAY is Go's default.
//
// Usage: echo [BUFFER]. Prints `listening on tcp://127.0.0.1:PORT`.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

func serve(c net.Conn, size int) {
	defer c.Close()
	buf := make([]byte, size)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err = c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func main() {
	size := 4096
	if len(os.Args) > 1 {
		size, _ = strconv.Atoi(os.Args[1])
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("listening on tcp://%s\n", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		go serve(c, size)
	}
}
