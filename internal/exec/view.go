package exec

import "github.com/archelon-db/archelon/internal/storage"

// View is the transaction that scans read through, which may be exchanged
// between batches. It belongs to one goroutine at a time.
type View struct {
	txn   storage.Txn
	scans []*Scan
}

// Attach gives the view a transaction.
func (v *View) Attach(txn storage.Txn) { v.txn = txn }

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
