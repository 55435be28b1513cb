// A service behind a reverse connection, written from the guide and the protocol
// file with grpc-go.
//
//	peer --gateway HOST:PORT --service NAME [--ca FILE] [--api-key KEY]
//
// Prints `connected ID` for every connection.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"interop/reverse/greet"
	"interop/reverse/registry"
)

var (
	gateway = flag.String("gateway", "", "where to dial")
	service = flag.String("service", "", "what to register")
	ca      = flag.String("ca", "", "certificates that sign the gateway's")
	apiKey  = flag.String("api-key", "", "what to show")
	beat    = flag.Duration("beat", 5*time.Second, "how often to beat")
	served  atomic.Int64
)

type sender struct {
	sync.Mutex
	stream registry.RegistryService_EstablishConnectionClient
}

func (s *sender) send(message *registry.ConnectionMessage) {
	s.Lock()
	defer s.Unlock()
	if err := s.stream.Send(message); err != nil {
		log.Print(err)
	}
}

func main() {
	flag.Parse()
	delay := 100 * time.Millisecond
	for {
		if err := connect(); err != nil {
			fmt.Println("lost", err)
		}
		time.Sleep(time.Duration(rand.Int63n(int64(delay))))
		delay = min(delay*2, 5*time.Second)
	}
}

func connect() error {
	transport := insecure.NewCredentials()
	if *ca != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(*ca, ""); err != nil {
			return err
		}
	}
	connection, err := grpc.NewClient(*gateway, grpc.WithTransportCredentials(transport))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := registry.NewRegistryServiceClient(connection).EstablishConnection(ctx)
	if err != nil {
		return err
	}
	out := &sender{stream: stream}
	out.send(&registry.ConnectionMessage{MessageType: &registry.ConnectionMessage_Register{
		Register: &registry.ConnectionRegister{ApiKey: *apiKey, Services: []string{*service}},
	}})
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		switch said := message.MessageType.(type) {
		case *registry.ConnectionMessage_Status:
			if said.Status.Status == registry.ConnectionStatus_CONNECTED {
				fmt.Println("connected", said.Status.ConnectionId)
				go keepAlive(ctx, out, said.Status.ConnectionId)
			}
		case *registry.ConnectionMessage_Request:
			go answer(out, said.Request)
		}
	}
}

func keepAlive(ctx context.Context, out *sender, id string) {
	ticks := time.NewTicker(*beat)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			out.send(&registry.ConnectionMessage{MessageType: &registry.ConnectionMessage_Heartbeat{
				Heartbeat: &registry.Heartbeat{Timestamp: now.Unix(), ConnectionId: id},
			}})
		}
	}
}

func answer(out *sender, request *registry.ForwardRequest) {
	response := &registry.ForwardResponse{RequestId: request.RequestId, StatusCode: 404}
	hello := &greet.Hello{}
	if !strings.HasSuffix(request.MethodPath, "/SayHello") {
		response.ErrorMessage = "unknown method " + request.MethodPath
	} else if err := proto.Unmarshal(request.Payload, hello); err != nil {
		response.StatusCode, response.ErrorMessage = 400, err.Error()
	} else {
		reply := &greet.Reply{Message: "hello " + hello.Name + " from go", Served: served.Add(1)}
		payload, err := proto.Marshal(reply)
		if err != nil {
			log.Fatal(err)
		}
		response.StatusCode, response.Payload = 200, payload
		response.Headers = map[string]string{"x-answered-by": "go"}
	}
	out.send(&registry.ConnectionMessage{MessageType: &registry.ConnectionMessage_Response{
		Response: response,
	}})
}
