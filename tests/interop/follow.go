// Command follow verifies a log with tools that know nothing of the project that keeps it:
// tessera's fsck and its state tracker, torchwood's client, and the tlog and note packages of the Go project.
//
//	follow -url https://host:port/log/name/ -key log-key.pub [-root root.pem] [-cert chain.pem -certkey key.pem]
//	       [-old checkpoint] [-hashes]
//
// A url may also be file:///folder/. It prints one JSON object, or the first fault on standard error.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// report is what was verified, and how much of it.
type report struct {
	Origin  string `json:"origin"`
	Size    int64  `json:"size"`
	Root    string `json:"root"`
	Tracked int64  `json:"tracked_from"`
	Fsck    bool   `json:"fsck"`
	Entries int64  `json:"entries"`
	Records int64  `json:"records"`
}

// follower is one run.
type follower struct {
	base     string
	http     *http.Client
	verifier note.Verifier
	tessera  fsck.Fetcher
	tree     tlog.Tree
	hashes   tlog.HashReader
	report   report
}

func main() {
	base := flag.String("url", "", "address of the log, with a slash at the end")
	key := flag.String("key", "", "file with the log's key, a C2SP verifier key")
	root := flag.String("root", "", "file with the root certificate, PEM")
	cert := flag.String("cert", "", "file with a client's certificate chain, PEM")
	certKey := flag.String("certkey", "", "file with its private key, PEM")
	old := flag.String("old", "", "file with an older checkpoint that the log must extend")
	hashes := flag.Bool("hashes", false, "look at no entries")
	flag.Parse()
	found, err := run(*base, *key, *root, *cert, *certKey, *old, *hashes)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		os.Exit(1)
	}
}

func run(base, key, root, cert, certKey, old string, hashes bool) (*report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	text, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("note: %w", err)
	}
	f := &follower{base: base, verifier: verifier}
	if f.http, err = dialler(root, cert, certKey); err != nil {
		return nil, err
	}
	if err := f.open(ctx, old); err != nil {
		return nil, err
	}
	if hashes {
		return &f.report, f.prove(nil)
	}
	checker := fsck.New(verifier.Name(), verifier, f.tessera, leafHashes, fsck.Opts{N: 4})
	if err := checker.Check(ctx); err != nil {
		return nil, fmt.Errorf("tessera fsck: %w", err)
	}
	f.report.Fsck = true
	return &f.report, f.follow(ctx)
}

// dialler returns a client for https, as whoever has the certificate, and for file.
func dialler(root, cert, certKey string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	if root != "" {
		pem, err := os.ReadFile(root)
		if err != nil || !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("root certificate: %v", err)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, certKey)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 8}
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

// open verifies the newest checkpoint and that it extends an older one.
func (f *follower) open(ctx context.Context, old string) error {
	address, err := url.Parse(f.base)
	if err != nil {
		return err
	}
	if address.Scheme == "file" {
		f.tessera = client.FileFetcher{Root: address.Path}
	} else if f.tessera, err = client.NewHTTPFetcher(address, f.http); err != nil {
		return err
	}
	var before []byte
	if old != "" {
		if before, err = os.ReadFile(old); err != nil {
			return err
		}
	}
	origin := f.verifier.Name()
	consensus := client.UnilateralConsensus(f.tessera.ReadCheckpoint)
	tracker, err := client.NewLogStateTracker(ctx, f.tessera.ReadTile, before, f.verifier, origin, consensus)
	if err != nil {
		return fmt.Errorf("tessera tracker: %w", err)
	}
	f.report.Tracked = int64(tracker.Latest().Size)
	if _, _, _, err := tracker.Update(ctx); err != nil {
		return fmt.Errorf("tessera tracker: %w", err)
	}
	head := tracker.Latest()
	f.tree = tlog.Tree{N: int64(head.Size), Hash: tlog.Hash(head.Hash)}
	f.hashes = tlog.TileHashReader(f.tree, f)
	f.report.Origin, f.report.Size, f.report.Root = head.Origin, f.tree.N, fmt.Sprintf("%x", head.Hash)
	if before == nil {
		return nil
	}
	return f.extends(before)
}

// extends shows once more, with tlog alone, that the tree extends an older checkpoint.
func (f *follower) extends(before []byte) error {
	opened, err := note.Open(before, note.VerifierList(f.verifier))
	if err != nil {
		return fmt.Errorf("note: %w", err)
	}
	older, err := torchwood.ParseCheckpoint(opened.Text)
	if err != nil {
		return fmt.Errorf("torchwood: %w", err)
	}
	proof, err := tlog.ProveTree(f.tree.N, older.N, f.hashes)
	if err != nil {
		return fmt.Errorf("tlog: %w", err)
	}
	if err := tlog.CheckTree(proof, f.tree.N, f.tree.Hash, older.N, older.Hash); err != nil {
		return fmt.Errorf("tlog: %w", err)
	}
	return nil
}

// follow reads every entry with torchwood and proves some of them with tlog.
func (f *follower) follow(ctx context.Context) error {
	reader, err := torchwood.NewTileFetcher(f.base, torchwood.WithHTTPClient(f.http))
	if err != nil {
		return err
	}
	log, err := torchwood.NewClient(reader)
	if err != nil {
		return err
	}
	records := map[int64]tlog.Hash{}
	for f.report.Entries < f.tree.N {
		before := f.report.Entries
		for index, entry := range log.Entries(ctx, f.tree, before) {
			if index%97 == 0 || index == f.tree.N-1 {
				records[index] = tlog.RecordHash(entry)
			}
			f.report.Entries = index + 1
		}
		if err := log.Err(); err != nil {
			return fmt.Errorf("torchwood: %w", err)
		}
		if f.report.Entries == before {
			return fmt.Errorf("torchwood: no entry from %d on", before)
		}
	}
	return f.prove(records)
}

// prove makes and checks an inclusion proof for each record; without records, for the ends of the log.
func (f *follower) prove(records map[int64]tlog.Hash) error {
	if records == nil {
		records = map[int64]tlog.Hash{}
		for _, index := range []int64{0, f.tree.N / 2, f.tree.N - 1} {
			found, err := f.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			if err != nil {
				return fmt.Errorf("tlog: %w", err)
			}
			records[index] = found[0]
		}
	}
	for index, hash := range records {
		proof, err := tlog.ProveRecord(f.tree.N, index, f.hashes)
		if err != nil {
			return fmt.Errorf("tlog: entry %d: %w", index, err)
		}
		if err := tlog.CheckRecord(proof, f.tree.N, f.tree.Hash, index, hash); err != nil {
			return fmt.Errorf("tlog: entry %d: %w", index, err)
		}
		f.report.Records++
	}
	return nil
}

// Height is that of C2SP tiles.
func (f *follower) Height() int { return torchwood.TileHeight }

// ReadTiles reads tiles for tlog, which verifies them.
func (f *follower) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var contents [][]byte
	for _, tile := range tiles {
		answer, err := f.http.Get(f.base + torchwood.TilePath(tile))
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s %v", torchwood.TilePath(tile), answer.Status, err)
		}
		contents = append(contents, content)
	}
	return contents, nil
}

// SaveTiles keeps nothing.
func (f *follower) SaveTiles([]tlog.Tile, [][]byte) {}

// leafHashes returns the hashes of an entry bundle's entries.
func leafHashes(bundle []byte) ([][]byte, error) {
	parsed := &api.EntryBundle{}
	if err := parsed.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, entry := range parsed.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}
