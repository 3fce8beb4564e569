package pgharness

import "syscall"

// dieWithParent makes the server stop when the thread that started it is gone.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
