// SPDX-License-Identifier: MIT
// POST /echo answers with the body, GET / says so, anything else is 404; the port is said on stdout.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

func serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	status := 200
	if err != nil {
		status, body = 400, []byte("bad\n")
		w.Header().Set("Connection", "close")
	} else if r.Method == "GET" && r.URL.Path == "/" {
		body = []byte("POST /echo\n")
	} else if r.Method != "POST" || r.URL.Path != "/echo" {
		status, body = 404, []byte("no\n")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(serve)))
}
