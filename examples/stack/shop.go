package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

// shop is the service: it takes orders and keeps stock in a database.
type shop struct {
	client   *mongo.Client
	db       *mongo.Database
	instance *service.Instance
}

// soldOut is the error code of an order for more than there is.
const soldOut = 20_001

type orderRequest struct {
	Article  string `bson:"order" doc:"what to order"`
	Quantity int32  `bson:"quantity" doc:"how many"`
}

type orderReply struct {
	Number int32 `bson:"number" doc:"the number of the order"`
	Left   int32 `bson:"left" doc:"how many are left"`
}

type deliverRequest struct {
	Article  string `bson:"deliver" doc:"what has come"`
	Quantity int32  `bson:"quantity" doc:"how many"`
}

type deliverReply struct {
	Left int32 `bson:"left" doc:"how many there are now"`
}

// newShop connects to the database, puts ten pumps on the shelf and listens.
func newShop(ctx context.Context, database string, log *slog.Logger) (*shop, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(database))
	if err != nil {
		return nil, err
	}
	s := &shop{client: client, db: client.Database("shop")}
	if _, err := s.deliver(ctx, deliverRequest{"pump", 10}); err != nil {
		return nil, errors.Join(err, client.Disconnect(ctx))
	}
	svc := service.New("shop", service.Config{Version: "1.0", Logger: log})
	service.Handle(svc, service.Command{Name: "order", Help: "Orders an article."}, s.order)
	service.Handle(svc, service.Command{Name: "deliver", Help: "Puts articles on the shelf."}, s.deliver)
	if s.instance, err = svc.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}}); err != nil {
		return nil, errors.Join(err, client.Disconnect(ctx))
	}
	return s, nil
}

func (s *shop) uri() string { return s.instance.URI() }

// serve answers until ctx ends.
func (s *shop) serve(ctx context.Context) error {
	err := s.instance.Serve(ctx)
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, s.client.Disconnect(bye))
}

// order takes from the shelf and writes the order down, both or neither.
func (s *shop) order(ctx context.Context, req orderRequest) (orderReply, error) {
	session, err := s.client.StartSession()
	if err != nil {
		return orderReply{}, err
	}
	defer session.EndSession(ctx)
	reply, err := session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		left, err := s.take(ctx, req.Article, req.Quantity)
		if err != nil {
			return nil, err
		}
		number, err := s.next(ctx)
		if err != nil {
			return nil, err
		}
		_, err = s.db.Collection("orders").InsertOne(ctx, bson.D{
			{Key: "_id", Value: number}, {Key: "article", Value: req.Article}, {Key: "quantity", Value: req.Quantity},
		})
		return orderReply{Number: number, Left: left}, err
	})
	if err != nil {
		return orderReply{}, err
	}
	return reply.(orderReply), nil
}

// take takes articles from the shelf and returns how many are left.
func (s *shop) take(ctx context.Context, article string, n int32) (int32, error) {
	var shelf struct{ Left int32 }
	err := s.db.Collection("shelf").FindOneAndUpdate(ctx,
		bson.D{{Key: "_id", Value: article}, {Key: "left", Value: bson.D{{Key: "$gte", Value: n}}}},
		bson.D{{Key: "$inc", Value: bson.D{{Key: "left", Value: -n}}}},
		options.FindOneAndUpdate().SetReturnDocument(options.After),
	).Decode(&shelf)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return 0, server.Errorf(soldOut, "there are not %d of %s", n, article)
	}
	return shelf.Left, err
}

// next returns the number of the next order.
func (s *shop) next(ctx context.Context) (int32, error) {
	var counter struct{ N int32 }
	err := s.db.Collection("counters").FindOneAndUpdate(ctx,
		bson.D{{Key: "_id", Value: "orders"}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int32(1)}}}},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After),
	).Decode(&counter)
	return counter.N, err
}

// deliver puts articles on the shelf.
func (s *shop) deliver(ctx context.Context, req deliverRequest) (deliverReply, error) {
	var shelf struct{ Left int32 }
	err := s.db.Collection("shelf").FindOneAndUpdate(ctx,
		bson.D{{Key: "_id", Value: req.Article}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "left", Value: req.Quantity}}}},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After),
	).Decode(&shelf)
	return deliverReply{shelf.Left}, err
}
