package netcfgtest

// Looks returns how often Observe was called.
func (k *Kernel) Looks() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.looks
}
