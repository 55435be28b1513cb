// A server and a client of go-easyops, written from its wire alone with grpc-go: its
// own modules are on no public proxy.
//
//	peer serve REGISTRY SERVICE
//	peer call REGISTRY SERVICE TOKEN BODY
//	peer list REGISTRY
//	peer plain GATEWAY SERVICE BODY
//
// REGISTRY is the host and the port in the clear; TLS is on the next one, and is what
// is dialled. `serve` registers as an unmodified server does: it finds registry and
// authentication service by asking for targets, learns the public key, and prints
// `registered`; it refuses calls without a service that is signed, and answers
// /SERVICE/Echo with what it got. SIGTERM deregisters. `call` is a client with a token:
// it finds the service and prints the answer. `list` prints what is registered. `plain` is
// any client of gRPC, which knows nothing of all this and calls the gateway.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

const contextKey = "goeasyops_meta_v2"

// raw passes messages on as the bytes they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

func text(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

func varint(number protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), value)
}

// fields of a message, by number: bytes as they are, numbers as varints.
func fields(message []byte) map[protowire.Number][][]byte {
	found := map[protowire.Number][][]byte{}
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		check(size >= 0, "a message that is none")
		message = message[size:]
		length := protowire.ConsumeFieldValue(number, kind, message)
		check(length >= 0, "a message that is none")
		value := message[:length]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		found[number] = append(found[number], value)
		message = message[length:]
	}
	return found
}

func first(values [][]byte) []byte {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}

func number(values [][]byte) uint64 {
	value, _ := protowire.ConsumeVarint(first(values))
	return value
}

func check(holds bool, what string) {
	if !holds {
		fmt.Fprintln(os.Stderr, what)
		os.Exit(1)
	}
}

func must[T any](value T, err error) T {
	check(err == nil, fmt.Sprint(err))
	return value
}

// dial speaks TLS with the one name that everybody has, whatever the certificate.
func dial(address string) *grpc.ClientConn {
	secure := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "rfc-client"})
	return must(grpc.NewClient(address, grpc.WithTransportCredentials(secure),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}))))
}

func ask(ctx context.Context, conn *grpc.ClientConn, method string, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var answer []byte
	err := conn.Invoke(ctx, method, message, &answer)
	return answer, err
}

// targets are where a service is, of the kind grpc.
func targets(registry *grpc.ClientConn, service string) [][]byte {
	request := append(varint(1, 1), text(2, []byte(service))...)
	answer := must(ask(context.Background(), registry, "/registry.Registry/V2GetTarget", request))
	return fields(answer)[1]
}

// target asks for a service, and again while there is none.
func target(registry *grpc.ClientConn, service string) string {
	for try := 0; try < 20; try++ {
		if found := targets(registry, service); len(found) > 0 {
			told := fields(found[0])
			check(string(first(told[1])) == service, "a target of another service")
			port := strconv.FormatUint(number(told[3]), 10)
			return net.JoinHostPort(string(first(told[2])), port)
		}
		time.Sleep(500 * time.Millisecond)
	}
	check(false, "nobody serves "+service)
	return ""
}

// cloud is the registry as clients find it: at the port for TLS, and from there by
// asking it for itself.
func cloud(address string) (registry *grpc.ClientConn, key ed25519.PublicKey, auth *grpc.ClientConn) {
	host, port, err := net.SplitHostPort(address)
	check(err == nil, fmt.Sprint(err))
	next := strconv.Itoa(must(strconv.Atoi(port)) + 1)
	bootstrap := dial(net.JoinHostPort(host, next))
	registry = dial(target(bootstrap, "registry.Registry"))
	auth = dial(target(registry, "auth.AuthenticationService"))
	method := "/auth.AuthenticationService/GetPublicSigningKey"
	answer := fields(must(ask(context.Background(), auth, method, nil)))
	key = first(answer[1])
	check(len(key) == ed25519.PublicKeySize, "no public key")
	return registry, key, auth
}

// caller is the id of the service that a call is signed for; an error otherwise.
func caller(ctx context.Context, key ed25519.PublicKey) (string, error) {
	refused := func(why string) (string, error) {
		return "", status.Error(codes.Unauthenticated, why)
	}
	carried, _ := metadata.FromIncomingContext(ctx)
	values := carried.Get(contextKey)
	if len(values) != 1 {
		return refused("not one context")
	}
	context, err := base64.StdEncoding.DecodeString(values[0])
	if err != nil {
		return refused("a context that is no base64")
	}
	mutable := fields(first(fields(context)[2]))
	signed := fields(first(mutable[1]))
	user, signature := first(signed[1]), first(signed[2])
	if !ed25519.Verify(key, user, signature) {
		return refused("a service that is not signed")
	}
	told := fields(user)
	if number(told[9]) != 1 || number(told[8]) != 1 {
		return refused("no active service account")
	}
	return string(first(told[1])), nil
}

func certificate() tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	made := must(x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{made}, PrivateKey: key}
}

// server answers calls and says how it is, on one port that speaks TLS.
func server(service string, caller func(context.Context) (string, error)) (*http.Server, uint64) {
	own := certificate()
	var asked sync.Once
	secure := &tls.Config{
		NextProtos: []string{"h2"},
		// Another name makes the original ask others for a certificate; a registry that
		// asks how it is names nobody.
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName != "rfc-client" && hello.ServerName != "" {
				return nil, fmt.Errorf("a client that asks for %q", hello.ServerName)
			}
			return &own, nil
		},
	}
	answer := func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		if method != "/"+service+"/Echo" {
			return status.Error(codes.Unimplemented, method)
		}
		who, err := caller(stream.Context())
		if err != nil {
			return err
		}
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		fmt.Println("called by", who)
		return stream.SendMsg(message)
	}
	calls := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(answer))
	// Told apart by the path.
	server := &http.Server{TLSConfig: secure, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !strings.HasPrefix(r.URL.Path, "/internal/"):
				calls.ServeHTTP(w, r)
			case r.URL.Path == "/internal/health":
				fmt.Fprint(w, "READY")
				asked.Do(func() { fmt.Println("asked how it is") })
			default:
				http.NotFound(w, r)
			}
		})}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	go server.ServeTLS(listener, "", "")
	return server, uint64(listener.Addr().(*net.TCPAddr).Port)
}

// registration is a RegisterServiceRequest.
func registration(process, service string, port, health uint64) []byte {
	routing := text(4, append(text(1, []byte("zone")), text(2, []byte("blue"))...))
	return bytes.Join([][]byte{
		text(1, []byte(process)),
		varint(2, port),
		text(3, []byte{0, 1}), // status, grpc
		text(4, []byte(service)),
		text(5, routing),
		varint(6, uint64(os.Getpid())),
		varint(8, health),
	}, nil)
}

func newProcess() string {
	return "L-" + base64.RawURLEncoding.EncodeToString(must(random(24)))
}

// standalone asks nobody, and leaves a file.
func standalone(directory, service string) {
	anybody := func(context.Context) (string, error) { return "anybody", nil }
	_, port := server(service, anybody)
	process := newProcess()
	for {
		file := filepath.Join(directory, service+".proto")
		check(os.WriteFile(file, registration(process, service, port, 2), 0o644) == nil, "no file")
		time.Sleep(10 * time.Second)
	}
}

func serve(address, service string) {
	registry, key, _ := cloud(address)
	server, port := server(service, func(ctx context.Context) (string, error) { return caller(ctx, key) })
	process := newProcess()
	register := func(health uint64) error {
		request := registration(process, service, port, health)
		_, err := ask(context.Background(), registry, "/registry.Registry/V2RegisterService", request)
		return err
	}
	// What the original would be told.
	_, err := ask(context.Background(), registry, "/registry.Registry/V2RegisterService",
		text(4, []byte(service)))
	check(status.Code(err) == codes.InvalidArgument, fmt.Sprint("without a process: ", err))
	check(register(1) == nil, "it cannot register") // starting
	check(len(targets(registry, service)) == 0, "it is found before it is ready")
	check(register(2) == nil, "it cannot be ready")
	check(register(0) == nil && len(targets(registry, service)) == 1, "it says nothing, and is not found")
	fmt.Println("registered")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for {
		select {
		case <-time.After(10 * time.Second):
			check(register(0) == nil, "it cannot register again")
		case <-stop:
			_, err := ask(context.Background(), registry,
				"/registry.Registry/V2DeregisterService", text(1, []byte(process)))
			check(err == nil, fmt.Sprint(err))
			server.Shutdown(context.Background())
			return
		}
	}
}

func random(count int) ([]byte, error) {
	made := make([]byte, count)
	_, err := rand.Read(made)
	return made, err
}

func call(address, service, token, body string) {
	registry, key, auth := cloud(address)
	method := "/auth.AuthenticationService/SignedGetByToken"
	answer := fields(must(ask(context.Background(), auth, method, text(1, []byte(token)))))
	if number(answer[1]) != 1 {
		fmt.Println("refused:", string(first(answer[2])))
		return
	}
	user := first(answer[4])
	signed := fields(user)
	check(ed25519.Verify(key, first(signed[1]), first(signed[2])), "a user that is not signed")
	// The service that calls, in the part that everybody writes anew.
	made := text(2, text(1, user))
	ctx := metadata.AppendToOutgoingContext(context.Background(),
		contextKey, base64.StdEncoding.EncodeToString(made))
	conn := dial(target(registry, service))
	fmt.Println(string(must(ask(ctx, conn, "/"+service+"/Echo", []byte(body)))))
}

func list(address string) {
	registry, _, _ := cloud(address)
	method := "/registry.Registry/ListRegistrations"
	for _, one := range fields(must(ask(context.Background(), registry, method, nil)))[1] {
		told := fields(one)
		target := fields(first(told[1]))
		fmt.Println(string(first(target[1])), number(told[2]), len(first(target[5])))
	}
	fmt.Println("end")
}

func main() {
	arguments := os.Args[1:]
	check(len(arguments) >= 2, "serve REGISTRY SERVICE | standalone DIRECTORY SERVICE | call REGISTRY SERVICE TOKEN BODY | list REGISTRY | plain GATEWAY SERVICE BODY")
	switch arguments[0] {
	case "serve":
		serve(arguments[1], arguments[2])
	case "standalone":
		standalone(arguments[1], arguments[2])
	case "call":
		call(arguments[1], arguments[2], arguments[3], arguments[4])
	case "list":
		list(arguments[1])
	case "plain":
		clear := grpc.WithTransportCredentials(insecure.NewCredentials())
		codec := grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}))
		conn := must(grpc.NewClient(arguments[1], clear, codec))
		method := "/" + arguments[2] + "/Echo"
		fmt.Println(string(must(ask(context.Background(), conn, method, []byte(arguments[3])))))
	}
}
