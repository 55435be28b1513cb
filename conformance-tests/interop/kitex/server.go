package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/server"
	etcdregistry "github.com/kitex-contrib/registry-etcd"

	"interop/kitex_gen/users"
	"interop/kitex_gen/users/userservice"
)

// Users keeps users in memory.
type Users struct {
	mutex sync.Mutex
	users map[int64]*users.User
}

func newUsers() *Users {
	city := "London"
	ada := users.NewUser()
	ada.Id, ada.Email, ada.DisplayName = 9007199254740993, "ada@example.org", "Ada Lovelace"
	ada.Plan, ada.Tags = users.Plan_TEAM, []string{"math", "engines"}
	ada.LoginsByCountry = map[string]int64{"GB": 12, "FR": 3}
	ada.Address = &users.Address{Street: "St James's Square", City: &city}
	ada.Avatar, ada.Active, ada.Score = []byte{0, 255, 16}, true, 9.75
	ada.Groups, ada.Age, ada.Level, ada.Visits = []int32{1, 5}, 36, -1, 9
	ada.Contact = &users.Contact{Home: &users.Address{Street: "Ockham"}}
	ada.Circles = map[int32][][]int64{-1: {{1, 2}, {}}}
	return &Users{users: map[int64]*users.User{ada.Id: ada}}
}

// GetUser answers with a user or a declared exception.
func (u *Users) GetUser(_ context.Context, request *users.UserRequest) (*users.User, error) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if user, ok := u.users[request.Id]; ok {
		return user, nil
	}
	return nil, &users.UserNotFound{Id: request.Id, Reason: "no such user"}
}

// SaveUser keeps a user.
func (u *Users) SaveUser(_ context.Context, user *users.User) (*users.User, error) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.users[user.Id] = user
	return user, nil
}

// ListUsers takes two arguments.
func (u *Users) ListUsers(_ context.Context, limit int32, plan users.Plan) ([]*users.User, error) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	found := []*users.User{}
	for _, user := range u.users {
		if user.Plan == plan && len(found) < int(limit) {
			found = append(found, user)
		}
	}
	return found, nil
}

// Greet answers with text; the word is what the caller's metadata says.
func (u *Users) Greet(ctx context.Context, request *users.UserRequest) (string, error) {
	user, err := u.GetUser(ctx, request)
	if err != nil {
		return "", fmt.Errorf("nobody to greet")
	}
	word := "Hello"
	if told, ok := metainfo.GetPersistentValue(ctx, "GREETING"); ok {
		word = told
	}
	return word + ", " + user.DisplayName, nil
}

// Ping answers with nothing.
func (u *Users) Ping(context.Context) error { return nil }

// Forget answers not at all.
func (u *Users) Forget(_ context.Context, id int64) error {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	delete(u.users, id)
	return nil
}

func serve(arguments []string) {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	gateway := flags.String("gateway", "", "URL of the gateway")
	key := flags.String("api-key", "", "the key, if registered before")
	idl := flags.String("idl", "users.thrift", "the IDL to register")
	facts := flags.String("metadata", "", "KEY=VALUE,... told when connecting")
	mux := flags.Bool("mux", false, "take many calls at a time on one connection")
	period := flags.Duration("beat", 500*time.Millisecond, "time between beats")
	etcd := flags.String("etcd", "", "HOST:PORT of an etcd to register in by itself, instead of a gateway")
	must(flags.Parse(arguments))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	port := listener.Addr().(*net.TCPAddr).Port
	options := []server.Option{
		server.WithListener(listener),
		server.WithMetaHandler(transmeta.ServerTTHeaderHandler),
		server.WithMetaHandler(transmeta.MetainfoServerHandler),
	}
	if *mux {
		options = append(options, server.WithMuxTransport())
	}
	if *etcd != "" {
		registry, err := etcdregistry.NewEtcdRegistry([]string{*etcd})
		must(err)
		options = append(options, server.WithRegistry(registry),
			server.WithServerBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: "UserService"}))
		fmt.Println("serving", port)
		must(userservice.NewServer(newUsers(), options...).Run())
		return
	}
	serving := userservice.NewServer(newUsers(), options...)
	go func() { must(serving.Run()) }()
	time.Sleep(200 * time.Millisecond)

	if *key == "" {
		*key = register(*gateway, *idl)
	}
	connection := map[string]any{
		"ApiKey": *key, "ServiceName": "UserService",
		"ServerAddress": "127.0.0.1", "ServerPort": strconv.Itoa(port),
	}
	if *facts != "" {
		connection["Metadata"] = pairs(*facts)
	}
	id := post(*gateway+"/connect", connection)["ServerID"].(string)
	fmt.Println("serving", port, *key, id)
	for {
		time.Sleep(*period)
		post(*gateway+"/health", map[string]any{"ApiKey": *key, "ServerID": id})
	}
}

func pairs(text string) map[string]string {
	found := map[string]string{}
	for _, pair := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(pair, "=")
		found[key] = value
	}
	return found
}

func register(gateway, path string) string {
	idl, err := os.ReadFile(path)
	must(err)
	paths := []map[string]string{}
	for public, method := range map[string]string{
		"get": "getUser", "save": "saveUser", "list": "listUsers",
		"greet": "greet", "ping": "ping", "forget": "forget",
	} {
		paths = append(paths, map[string]string{"MethodPath": public, "ExposedMethod": method})
	}
	owner := map[string]any{
		"OwnerName": "Users Inc", "OwnerId": "users-inc",
		"Services": []any{map[string]any{
			"ServiceId": "1", "ServiceName": "UserService", "IdlContent": string(idl),
			"Version": "1.0", "ServiceDescription": "users", "ServerCount": 1, "Paths": paths,
		}},
	}
	return post(gateway+"/register", []any{owner})["API-Key"].(string)
}

func post(url string, body any) map[string]any {
	text, err := json.Marshal(body)
	must(err)
	answer, err := http.Post(url, "application/json", bytes.NewReader(text))
	must(err)
	defer answer.Body.Close()
	told, err := io.ReadAll(answer.Body)
	must(err)
	if answer.StatusCode != http.StatusOK {
		fail(url + ": " + answer.Status + " " + string(told))
	}
	parsed := map[string]any{}
	must(json.Unmarshal(told, &parsed))
	return parsed
}
