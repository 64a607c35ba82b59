package swtpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// A TPM has room for three objects, so the kernel's resource manager gives every
// client a space of its own: between two commands no object is loaded, each is
// saved and goes by a number of the space. A Mux does the same.

const (
	transientKind = 0x80       // highest byte of a handle of a loaded object
	firstVirtual  = 0x80ffffff // counted down, as the kernel does
)

// shape says where a command and its response carry handles.
type shape struct {
	handles int  // in the command
	returns bool // the response begins with one
}

// manager lets spaces take turns on one TPM.
type manager struct {
	tpm transport.TPM

	mu     sync.Mutex // held while objects of a space are loaded
	shapes map[tpm2.TPMCC]shape
}

// space is what one client has loaded.
type space struct {
	m        *manager
	objects  map[uint32]tpm2.TPMSContext // by the space's own handle
	sessions []uint32
	next     uint32
}

func (m *manager) space() *space {
	return &space{m: m, objects: map[uint32]tpm2.TPMSContext{}, next: firstVirtual}
}

// Send runs one command of the client.
func (s *space) Send(command []byte) ([]byte, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	code := tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
	if code == tpm2.TPMCCFlushContext && len(command) == headerSize+4 {
		return s.flush(command)
	}
	shape, err := s.m.shape(code)
	if err != nil {
		return nil, err
	}
	command, loaded, failed := s.load(slices.Clone(command), shape)
	defer func() { s.m.unload(loaded) }()
	if failed != 0 {
		return failure(failed), nil
	}
	response, err := s.m.tpm.Send(command)
	if err != nil || !shape.returns || !succeeded(response) || len(response) < headerSize+4 {
		return response, err
	}
	return s.keep(response)
}

// flush forgets an object; sessions are the TPM's to flush.
func (s *space) flush(command []byte) ([]byte, error) {
	handle := binary.BigEndian.Uint32(command[headerSize:])
	if handle>>24 == transientKind {
		if _, known := s.objects[handle]; !known {
			return failure(tpm2.TPMRCReferenceH0), nil
		}
		delete(s.objects, handle)
		return failure(tpm2.TPMRCSuccess), nil
	}
	s.sessions = slices.DeleteFunc(s.sessions, func(h uint32) bool { return h == handle })
	return s.m.tpm.Send(command)
}

// load brings the objects back that the command names. A command that names an
// unknown one fails with the number of its handle, as in the kernel.
func (s *space) load(command []byte, sh shape) (ready []byte, loaded []tpm2.TPMHandle, failed tpm2.TPMRC) {
	for i := range sh.handles {
		at := headerSize + 4*i
		if len(command) < at+4 {
			break // the TPM will say so
		}
		handle := binary.BigEndian.Uint32(command[at:])
		if handle>>24 != transientKind {
			continue
		}
		saved, known := s.objects[handle]
		if !known {
			return command, loaded, tpm2.TPMRCReferenceH0 + tpm2.TPMRC(i)
		}
		rsp, err := tpm2.ContextLoad{Context: saved}.Execute(s.m.tpm)
		if err != nil { // saved before the TPM was reset
			return command, loaded, tpm2.TPMRCReferenceH0 + tpm2.TPMRC(i)
		}
		loaded = append(loaded, rsp.LoadedHandle)
		binary.BigEndian.PutUint32(command[at:], uint32(rsp.LoadedHandle))
	}
	return command, loaded, tpm2.TPMRCSuccess
}

func (m *manager) unload(loaded []tpm2.TPMHandle) {
	for _, h := range loaded {
		_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(m.tpm) // a finished sequence is gone already
	}
}

// keep saves what a command loaded, and gives it a number of the space.
func (s *space) keep(response []byte) ([]byte, error) {
	handle := binary.BigEndian.Uint32(response[headerSize:])
	if handle>>24 != transientKind {
		s.sessions = append(s.sessions, handle)
		return response, nil
	}
	saved, err := tpm2.ContextSave{SaveHandle: tpm2.TPMHandle(handle)}.Execute(s.m.tpm)
	s.m.unload([]tpm2.TPMHandle{tpm2.TPMHandle(handle)})
	if err != nil {
		return nil, fmt.Errorf("swtpm: save context: %w", err)
	}
	s.objects[s.next] = saved.Context
	binary.BigEndian.PutUint32(response[headerSize:], s.next)
	s.next--
	return response, nil
}

// close flushes the client's sessions.
func (s *space) close() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, h := range s.sessions {
		_, _ = tpm2.FlushContext{FlushHandle: tpm2.TPMHandle(h)}.Execute(s.m.tpm) // gone already, or the TPM is off
	}
}

// shape asks the TPM once for all its commands.
func (m *manager) shape(code tpm2.TPMCC) (shape, error) {
	if m.shapes == nil {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapCommands, Property: 0x11f, PropertyCount: 256}.Execute(m.tpm)
		if err != nil {
			return shape{}, fmt.Errorf("swtpm: list commands: %w", err)
		}
		list, err := rsp.CapabilityData.Data.Command()
		if err != nil || len(list.CommandAttributes) == 0 {
			return shape{}, errors.Join(errors.New("swtpm: the TPM lists no commands"), err)
		}
		m.shapes = map[tpm2.TPMCC]shape{}
		for _, c := range list.CommandAttributes {
			m.shapes[tpm2.TPMCC(c.CommandIndex)] = shape{int(c.CHandles), c.RHandle}
		}
	}
	return m.shapes[code], nil
}

func succeeded(response []byte) bool {
	return len(response) >= headerSize && binary.BigEndian.Uint32(response[6:]) == 0
}

// failure is a response that is only a code.
func failure(code tpm2.TPMRC) []byte {
	return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, headerSize}, uint32(code))
}
