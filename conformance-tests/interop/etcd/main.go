// A current etcd. Its own module cannot be installed by name, because it
// replaces modules; what it is made of can be called.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
