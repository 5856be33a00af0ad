package ssmcoord

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// recordKeys are the keys of a Record.
var recordKeys = []string{"v", "instance", "eni", "cluster", "role", "time"}

// checkKeys returns an error if value is not one JSON object with each key once, or if a key is one
// of a Record's in other letters. encoding/json reads such keys as a Record's, and takes the last
// of two: another program could read another owner.
func checkKeys(value string) error {
	d := json.NewDecoder(strings.NewReader(value))
	begin, err := d.Token()
	if err != nil {
		return fmt.Errorf("the record is not a JSON object: %w", err)
	}
	if begin != json.Delim('{') {
		return errors.New("the record is not a JSON object")
	}
	var seen []string
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return fmt.Errorf("the record is not a JSON object: %w", err)
		}
		key, _ := token.(string) // every key of an object is a string
		if slices.Contains(seen, key) {
			return fmt.Errorf("the record has the key %.40q twice", key)
		}
		if other := slices.IndexFunc(recordKeys, func(k string) bool { return k != key && strings.EqualFold(k, key) }); other >= 0 {
			return fmt.Errorf("the record has the key %.40q in place of %q", key, recordKeys[other])
		}
		seen = append(seen, key)
		var ignored json.RawMessage
		if err := d.Decode(&ignored); err != nil {
			return fmt.Errorf("the record is not a JSON object: %w", err)
		}
	}
	if _, err := d.Token(); err != nil { // the end of the object
		return fmt.Errorf("the record is not a JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the record has text after its JSON object")
	}
	return nil
}
