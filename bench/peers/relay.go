// SPDX-License-Identifier: MIT
// The peer Go as a relay: io.Copy each way, which splices between TCP connections.
//
// Usage: relay tcp://ADDRESS:PORT. Prints `listening on tcp://127.0.0.1:PORT`.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

func relay(client *net.TCPConn, addr string) {
	defer client.Close()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	done := make(chan bool)
	go func() {
		io.Copy(server, client)
		server.CloseWrite()
		done <- true
	}()
	io.Copy(client, server)
	client.CloseWrite()
	<-done
}

func main() {
	addr := strings.TrimPrefix(os.Args[1], "tcp://")
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
		go relay(c.(*net.TCPConn), addr)
	}
}
