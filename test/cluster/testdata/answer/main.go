// Command answer is what the pods of the tests run: a server that answers every
// request, a client that asks one until it does, or a writer of a file.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "answer:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "serve":
		fmt.Println("serving on 8080")
		return http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Println("asked for", r.URL.Path)
			fmt.Fprintln(w, "answered by", os.Getenv("HOSTNAME"))
		}))
	case len(arguments) == 2 && arguments[0] == "ask":
		return ask(arguments[1], time.Now().Add(30*time.Second))
	case len(arguments) == 2 && arguments[0] == "ask-in-vain":
		// Rules follow a new pod within a moment: what counts is that at the end
		// the server is not reached, three times in a row.
		if err := askInVain(arguments[1]); err != nil {
			return err
		}
		fmt.Println("not reached")
		return nil
	case len(arguments) == 2 && arguments[0] == "write":
		return os.WriteFile(arguments[1], []byte("written"), 0o600)
	}
	return fmt.Errorf("arguments %q: want serve, ask URL, ask-in-vain URL or write FILE", arguments)
}

func ask(url string, deadline time.Time) error {
	client := &http.Client{Timeout: 2 * time.Second}
	for {
		err := askOnce(client, url)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func askInVain(url string) error {
	client := &http.Client{Timeout: time.Second}
	deadline := time.Now().Add(20 * time.Second)
	for failed := 0; failed < 3; {
		err := askOnce(client, url)
		if err == nil && time.Now().After(deadline) {
			return fmt.Errorf("%s still answers, and should not be reached", url)
		}
		var unknown *net.DNSError
		if errors.As(err, &unknown) {
			return err // names are to be answered
		}
		failed++
		if err == nil {
			failed = 0
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

func askOnce(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	fmt.Print(string(said))
	return nil
}
