//go:build !linux

package pgharness

import "syscall"

func dieWithParent(*syscall.SysProcAttr) {}
