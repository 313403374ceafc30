// SPDX-License-Identifier: MIT
// The peer Go over UDP: one goroutine, a datagram at a time, which is all that package net has.
//
// Usage: echo_udp [BUFFER]. Prints `listening on udp://127.0.0.1:PORT`.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

func main() {
	size := 4096
	if len(os.Args) > 1 {
		size, _ = strconv.Atoi(os.Args[1])
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("listening on udp://%s\n", c.LocalAddr())
	buf := make([]byte, size)
	for {
		n, peer, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			continue
		}
		c.WriteToUDPAddrPort(buf[:n], peer)
	}
}
