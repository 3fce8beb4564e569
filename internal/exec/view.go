package exec

import "github.com/archelon-db/archelon/internal/storage"

// View is the transaction that scans read through, which may be exchanged
// between batches. It belongs to one goroutine at a time.
type View struct {
	txn   storage.Txn
	round int // counts the transactions that scans have gone on with
	scans []*Scan
}

// Attach gives the view a transaction, the first one or the one it had.
func (v *View) Attach(txn storage.Txn) { v.txn = txn }

// GoOn gives the view another transaction. Scans under way fail if what they read has been
// dropped since.
func (v *View) GoOn(txn storage.Txn) {
	v.txn = txn
	v.round++
}

// Txn returns the transaction, nil while detached.
func (v *View) Txn() storage.Txn { return v.txn }

// Detach closes the iterators of all scans and lets go of the transaction, which
// the caller ends.
func (v *View) Detach() {
	for _, s := range v.scans {
		s.detach()
	}
	v.txn = nil
}

func (v *View) add(s *Scan) { v.scans = append(v.scans, s) }

func (v *View) remove(s *Scan) {
	for i, o := range v.scans {
		if o == s {
			v.scans[i] = v.scans[len(v.scans)-1]
			v.scans = v.scans[:len(v.scans)-1]
			return
		}
	}
}
