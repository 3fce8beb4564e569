package mongoerr

import (
	"errors"
	"fmt"
	"testing"
)

func TestNames(t *testing.T) {
	for code, want := range map[Code]string{
		BadValue: "BadValue", 40415: "Location40415", 11000: "DuplicateKey", 10107: "NotWritablePrimary", 1: "InternalError", 59: "CommandNotFound", 112: "WriteConflict",
	} {
		if got := code.Name(); got != want {
			t.Errorf("%d: %s, want %s", code, got, want)
		}
	}
}

// TestNamesAreUnique guards the table against two codes of one name.
func TestNamesAreUnique(t *testing.T) {
	seen := map[string]Code{}
	for code, name := range codeNames {
		if other, ok := seen[name]; ok {
			t.Errorf("%d and %d are both %s", code, other, name)
		}
		seen[name] = code
	}
}

func TestErrors(t *testing.T) {
	e := New(BadValue, "bad %s", "x")
	if e.Error() != "bad x" {
		t.Errorf("messages %q", e)
	}
	labelled := e.WithLabels(LabelRetryableWrite)
	if len(e.Labels) != 0 || len(labelled.Labels) != 1 || len(labelled.WithLabels("b").Labels) != 2 {
		t.Error("WithLabels must copy")
	}
	if w := e.Wrap("in y: "); w.Message != "in y: bad x" || e.Message != "bad x" || w.Code != BadValue {
		t.Errorf("wrapped %q, was %q", w, e)
	}
	if x := e.WithExtra([]byte{5}); e.Extra != nil || len(x.Extra) != 1 {
		t.Error("WithExtra must copy")
	}
	wrapped := fmt.Errorf("outer: %w", e)
	if As(wrapped) != e || !Is(wrapped, BadValue) || Is(wrapped, TypeMismatch) {
		t.Error("As and Is must look through wrapping")
	}
	if As(errors.New("other")) != nil || Is(nil, BadValue) {
		t.Error("other errors have no code")
	}
}
