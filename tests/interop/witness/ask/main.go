// Ask shows a checkpoint to a witness and verifies its cosignature, with code that nobody here wrote:
// the HTTP client of transparency-dev/witness and the note formats of transparency-dev/formats.
//
// It reads {"url", "key", "old", "proof": [base64], "note"} on standard input and prints the time of the
// cosignature in Unix seconds, or the size that the witness says it holds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	f_note "github.com/transparency-dev/formats/note"
	client "github.com/transparency-dev/witness/client/http"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

type question struct {
	URL   string   `json:"url"`
	Key   string   `json:"key"`
	Old   uint64   `json:"old"`
	Proof [][]byte `json:"proof"`
	Note  string   `json:"note"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var q question
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		return err
	}
	where, err := url.Parse(q.URL)
	if err != nil {
		return err
	}
	verifier, err := f_note.NewVerifierForCosignatureV1(q.Key)
	if err != nil {
		return err
	}
	asked := client.NewWitness(where, http.DefaultClient)
	lines, size, err := asked.Update(context.Background(), q.Old, []byte(q.Note), q.Proof)
	if errors.Is(err, witness.ErrCheckpointStale) {
		fmt.Printf("holds %d\n", size)
		return nil
	}
	if err != nil {
		return err
	}
	opened, err := note.Open(append([]byte(q.Note), lines...), note.VerifierList(verifier))
	if err != nil {
		return err
	}
	at, err := f_note.CoSigV1Timestamp(opened.Sigs[0])
	if err != nil {
		return err
	}
	fmt.Printf("cosigned %d\n", at.Unix())
	return nil
}
