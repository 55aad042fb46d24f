// Command coredns is CoreDNS with the few plugins that our tests put before etcd.
//
// The whole CoreDNS carries the SDKs of three clouds and a Kubernetes client; building those takes
// longer than everything else that tests/run does. The code that answers is the same.
package main

import (
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/etcd"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	coremain.Run()
}
