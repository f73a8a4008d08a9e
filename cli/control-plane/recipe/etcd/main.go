// Command etcd is etcd's own server: flags, defaults and start as upstream has them.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
