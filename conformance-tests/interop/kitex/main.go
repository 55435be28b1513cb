// A user service and its client on Kitex, with code that Kitex' own generator
// makes of ../users.thrift.
//
//	peer server --gateway URL   joins by the first guide and serves;
//	                            prints `serving PORT KEY ID`
//	peer server --etcd ADDR     registers in an etcd by itself and serves
//	peer client --address ADDR  calls a service; prints a line of JSON per call
//	peer client --etcd ADDR     finds the service in an etcd and calls it
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: peer server|client ...")
	}
	switch os.Args[1] {
	case "server":
		serve(os.Args[2:])
	case "client":
		call(os.Args[2:])
	default:
		fail("unknown command " + os.Args[1])
	}
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail(err.Error())
	}
}
