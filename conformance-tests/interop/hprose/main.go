// What an hprose server and client for Go do with their registry: its v2 calls,
// made by etcd's own v2 client.
//
//	peer server --etcd URL --domain D --url tcp4://IP:PORT/ [--beat 3s]
//	    writes itself with a TTL of 10 s, again and again; on SIGTERM it stops
//	peer client --etcd URL --domain D
//	    lists, watches, and prints a line for every change of its primary server
package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"time"

	"go.etcd.io/etcd/client/v2"
)

// Server is the value below hprose-service/<domain>/<uuid>.
type Server struct {
	UUID      string
	Domain    string
	ServerUrl string
	CPU       int
}

func main() {
	if len(os.Args) < 2 {
		fail("usage: peer server|client ...")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	etcd := flags.String("etcd", "", "URL of etcd, or of what is one for hprose")
	domain := flags.String("domain", "", "the service")
	url := flags.String("url", "", "where the server is called")
	beat := flags.Duration("beat", 3*time.Second, "time between writes")
	must(flags.Parse(os.Args[2:]))
	connected, err := client.New(client.Config{
		Endpoints:               []string{*etcd},
		HeaderTimeoutPerRequest: time.Second,
	})
	must(err)
	keys := client.NewKeysAPI(connected)
	switch os.Args[1] {
	case "server":
		serve(keys, *domain, *url, *beat)
	case "client":
		follow(keys, *domain)
	default:
		fail("unknown command " + os.Args[1])
	}
}

func serve(keys client.KeysAPI, domain, url string, beat time.Duration) {
	sum := md5.Sum([]byte(url))
	uuid := hex.EncodeToString(sum[:])
	value, err := json.Marshal(Server{uuid, domain, url, 8})
	must(err)
	fmt.Println("serving", uuid)
	for {
		time.Sleep(beat)
		key := "hprose-service/" + domain + "/" + uuid
		options := &client.SetOptions{TTL: 10 * time.Second}
		if _, err := keys.Set(context.Background(), key, string(value), options); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

func follow(keys client.KeysAPI, domain string) {
	servers := map[string]Server{}
	primary := ""
	choose := func() {
		primary = ""
		all := []string{}
		for uuid := range servers {
			all = append(all, uuid)
		}
		if len(all) > 0 {
			primary = all[rand.Intn(len(all))]
		}
		fmt.Printf("primary %q of %d\n", servers[primary].ServerUrl, len(servers))
	}
	watcher := keys.Watcher("hprose-service/"+domain, &client.WatcherOptions{Recursive: true})
	changes := make(chan *client.Response)
	go func() {
		for {
			change, err := watcher.Next(context.Background())
			must(err) // As theirs: the first error ends it.
			changes <- change
		}
	}()
	options := &client.GetOptions{Recursive: true, Sort: true}
	listed, err := keys.Get(context.Background(), "hprose-service/"+domain, options)
	if err == nil {
		for _, node := range listed.Node.Nodes {
			var server Server
			must(json.Unmarshal([]byte(node.Value), &server))
			servers[server.UUID] = server
		}
	} else if !client.IsKeyNotFound(err) {
		fail(err.Error())
	}
	choose()
	for change := range changes {
		switch change.Action {
		case "set", "update":
			var server Server
			must(json.Unmarshal([]byte(change.Node.Value), &server))
			if _, known := servers[server.UUID]; !known {
				servers[server.UUID] = server
				choose()
			}
		case "expire":
			uuid := change.Node.Key[len("/hprose-service/"+domain+"/"):]
			if _, known := servers[uuid]; known {
				delete(servers, uuid)
				choose()
			}
		}
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
