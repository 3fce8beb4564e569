package catalog

// Pinned runs pin, which pins a state of the engine, while no change is between its commit and its publication, and
// returns the definitions that belong to that state. pin must not change the catalog.
func (c *Catalog) Pinned(pin func() error) (*Snapshot, error) {
	c.publish.RLock()
	defer c.publish.RUnlock()
	return c.current.Load(), pin()
}
