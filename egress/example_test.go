package egress_test

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/egress/simnet"
)

// greeter is a simulated server that greets.
func greeter(name string) simnet.Handler {
	return func(_ context.Context, req *egress.Request) (egress.Doc, bool) {
		doc, err := bson.Marshal(bson.D{{Key: "greeting", Value: req.Name() + " from " + name}, {Key: "ok", Value: 1}})
		return doc, err == nil
	}
}

func Example() {
	net := simnet.New(1)
	net.AddHost("a.test:27017", greeter("a"))
	net.AddHost("b.test:27017", greeter("b"))
	net.Kill("a.test:27017")

	client := net.From("client")
	defer client.Close()
	cmd, err := egress.NewCommand("test", bson.D{{Key: "hi", Value: 1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	response := client.Run(context.Background(), &egress.RequestOnAny{
		Targets: []egress.Host{"a.test:27017", "b.test:27017"}, Command: cmd,
	})
	var reply struct{ Greeting string }
	fmt.Println(response.Decode(&reply), reply.Greeting, response.Target)
	// Output: <nil> hi from b b.test:27017
}

func ExampleExecutor() {
	x := egress.NewExecutor(egress.ExecutorConfig{})
	ready, _ := x.NewEvent()
	done, _ := x.OnEvent(ready, func(context.Context, error) { fmt.Println("the event has happened") })
	late, _ := x.ScheduleAfter(time.Hour, func(_ context.Context, status error) { fmt.Println(status) })
	ready.Signal()
	done.Wait(context.Background())
	late.Cancel()
	late.Wait(context.Background())
	x.Shutdown()
	fmt.Println(x.Join(context.Background()))
	// Output:
	// the event has happened
	// CallbackCanceled: callback was canceled
	// <nil>
}

func ExampleParseURI() {
	u, err := egress.ParseURI("mongodb://u:p%40ss@a,b:27018/shop?replicaSet=rs0&readPreference=nearest")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(u.Hosts, u.Username, u.Database, u.ReplicaSet, u.ReadPreference.Mode)
	_, err = egress.ParseURI("mongodb+srv://cluster.example.org/")
	fmt.Println(err)
	// Output:
	// [a:27017 b:27018] u shop rs0 nearest
	// mongodb+srv is not supported: it needs DNS; write the hosts out in a mongodb:// string
}
