// A client of Envoy's rate limit service by grpc-go and the Go code that Envoy's project publishes of its protobufs.
// Says how many calls were OK before the first that was over its limit, and what the last answer said.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := rls.NewRateLimitServiceClient(connection)
	request := &rls.RateLimitRequest{Domain: os.Args[2], Descriptors: []*common.RateLimitDescriptor{
		{Entries: []*common.RateLimitDescriptor_Entry{{Key: os.Args[3], Value: os.Args[4]}}}}}
	for passed := 0; ; passed++ {
		answer, err := client.ShouldRateLimit(ctx, request)
		if err != nil {
			panic(err)
		}
		if answer.OverallCode == rls.RateLimitResponse_OVER_LIMIT {
			text, _ := protojson.Marshal(answer)
			fmt.Printf("%d\n%s\n", passed, text)
			return
		}
	}
}
