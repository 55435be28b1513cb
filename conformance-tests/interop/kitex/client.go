package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"sync"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/transport"
	etcdregistry "github.com/kitex-contrib/registry-etcd"

	"interop/kitex_gen/users"
	"interop/kitex_gen/users/userservice"
)

func call(arguments []string) {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	address := flags.String("address", "", "HOST:PORT of the service")
	framing := flags.String("transport", "framed", "framed, buffered or ttheader")
	mux := flags.Bool("mux", false, "many calls at a time on one connection")
	etcd := flags.String("etcd", "", "HOST:PORT of an etcd to find the service in, instead of an address")
	must(flags.Parse(arguments))

	options := []client.Option{
		client.WithRPCTimeout(10 * time.Second),
		client.WithConnectTimeout(5 * time.Second),
	}
	if *etcd != "" {
		resolver, err := etcdregistry.NewEtcdResolver([]string{*etcd})
		must(err)
		options = append(options, client.WithResolver(resolver))
	} else {
		options = append(options, client.WithHostPorts(*address))
	}
	switch *framing {
	case "framed":
		options = append(options, client.WithTransportProtocol(transport.Framed))
	case "buffered":
		options = append(options, client.WithTransportProtocol(transport.PurePayload))
	case "ttheader":
		options = append(options,
			client.WithTransportProtocol(transport.TTHeader),
			client.WithMetaHandler(transmeta.ClientTTHeaderHandler),
			client.WithMetaHandler(transmeta.MetainfoClientHandler))
	}
	if *mux {
		options = append(options, client.WithMuxConnection(1))
	}
	service, err := userservice.NewClient("UserService", options...)
	must(err)
	ctx := metainfo.WithPersistentValue(context.Background(), "GREETING", "Olá")

	ada, err := service.GetUser(ctx, &users.UserRequest{Id: 9007199254740993})
	must(err)
	show("get", ada)
	saved, err := service.SaveUser(ctx, ada)
	must(err)
	show("save", saved)
	listed, err := service.ListUsers(ctx, 5, users.Plan_TEAM)
	must(err)
	show("list", listed)
	word, err := service.Greet(ctx, &users.UserRequest{Id: ada.Id})
	must(err)
	show("greet", word)
	must(service.Ping(ctx))
	must(service.Forget(ctx, 7))

	_, err = service.GetUser(ctx, &users.UserRequest{Id: 404})
	var missing *users.UserNotFound
	if !errors.As(err, &missing) {
		fail(fmt.Sprint("a declared exception was expected: ", err))
	}
	show("missing", missing)
	show("many", many(ctx, service))
}

// Many calls at a time; every answer must be the caller's own.
func many(ctx context.Context, service userservice.Client) int {
	var group sync.WaitGroup
	var mutex sync.Mutex
	right := 0
	for number := range 200 {
		group.Add(1)
		go func() {
			defer group.Done()
			user := users.NewUser()
			user.Id, user.Email = int64(number), fmt.Sprint(number, "@example.org")
			saved, err := service.SaveUser(ctx, user)
			mutex.Lock()
			defer mutex.Unlock()
			if err == nil && saved.Email == user.Email {
				right++
			}
		}()
	}
	group.Wait()
	return right
}

func show(what string, value any) {
	text, err := json.Marshal(map[string]any{what: value})
	must(err)
	fmt.Println(string(text))
}
