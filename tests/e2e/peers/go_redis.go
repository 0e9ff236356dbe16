// go-redis against the RESP door: connects as it comes, asks, pipelines, and prints what it heard as one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/redis/go-redis/v9"
)

func main() {
	background := context.Background()
	client := redis.NewClient(&redis.Options{
		Addr: os.Args[1] + ":" + os.Args[2], Username: os.Args[3], Password: os.Args[4], ClientName: "tests", MaxRetries: -1,
	})
	heard := map[string]any{}
	ask := func(name string, words ...any) {
		answer, err := client.Do(background, words...).Result()
		if err != nil {
			answer = err.Error()
		}
		heard[name] = answer
	}
	ask("ping", "PING")
	ask("throttle", "CL.THROTTLE", "go", 2, 1, 1000)
	var answers []any
	pipeline := client.Pipeline()
	for i := 0; i < 3; i++ {
		pipeline.Do(background, "METE.CHECK", "demo", "go")
	}
	commands, err := pipeline.Exec(background)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, command := range commands {
		answers = append(answers, command.(*redis.Cmd).Val())
	}
	heard["pipeline"] = answers
	ask("error", "CL.THROTTLE", "go", -1, 1, 1)
	ask("name", "CLIENT", "GETNAME")
	ask("id", "CLIENT", "ID")
	client.Close()
	line, err := json.Marshal(heard)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(line))
}
