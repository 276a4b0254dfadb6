package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// The part of FUSE (linux/fuse.h) that a single file needs: numbers of requests, sizes
// of their heads and what is answered.
const (
	opForget      = 2
	opGetAttr     = 3
	opSetAttr     = 4
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatFS      = 17
	opRelease     = 18
	opFSync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42

	inHeader, outHeader = 40, 16
	readWriteHeader     = 40
	attributes          = 88
	fileSystemStatus    = 80
	initAnswer          = 64

	protocolMajor, protocolMinor = 7, 31
	bigWrites, manyPages         = 1 << 5, 1 << 22
	largestWrite, pages          = 1 << 20, 256
	// pastTheCache has each read and write come here, none to a cache of the kernel's.
	pastTheCache = 1
	rootNode     = 1
)

// server shows a disk as a file.
type server struct {
	room  *Room
	disk  *Disk
	at    string
	kept  *os.File
	ended chan struct{}
	err   error
}

// serve makes the file and mounts the disk over it.
func (d *Disk) serve(ctx context.Context, room *Room, at string) (*server, error) {
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		return nil, err
	}
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/fuse: %w", err)
	}
	// Whoever reads requests is told of them only if it asked after the disk was
	// mounted, so that there are two of the one device, one before and one after.
	before := os.NewFile(uintptr(fd), "/dev/fuse")
	err = room.run(ctx, []*os.File{before}, "mount", "-i", "-t", "fuse",
		"-o", "nosuid,nodev,fd=3,rootmode=100000,user_id=0,group_id=0", "disk", at)
	if err != nil {
		return nil, errors.Join(err, before.Close())
	}
	after, err := syscall.Dup(fd)
	if err == nil {
		syscall.CloseOnExec(after)
		err = syscall.SetNonblock(after, true)
	}
	if err = errors.Join(err, before.Close()); err != nil {
		return nil, fmt.Errorf("/dev/fuse: %w", err)
	}
	s := &server{room: room, disk: d, at: at, kept: os.NewFile(uintptr(after), "/dev/fuse"), ended: make(chan struct{})}
	go s.serve()
	return s, nil
}

// close takes the file away. Nobody may use it any more but who is to get errors.
func (s *server) close() error {
	err := s.room.run(context.Background(), nil, "umount", "--lazy", s.at)
	err = errors.Join(err, s.kept.Close())
	<-s.ended
	return errors.Join(err, s.err)
}

// serve answers one request after the other, until it is unmounted or closed. That
// a flush comes after all that was written before it is so by the loop device, which
// waits for each write's answer.
func (s *server) serve() {
	defer close(s.ended)
	buffer := make([]byte, largestWrite+blockSize)
	for {
		n, err := s.kept.Read(buffer)
		switch {
		case errors.Is(err, syscall.ENODEV), errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ENOENT):
			continue // who asked does not wait any more
		case err != nil:
			s.err = fmt.Errorf("reading requests for the disk: %w", err)
			return
		case n < inHeader:
			s.err = fmt.Errorf("a request of %d bytes for the disk", n)
			return
		}
		if err := s.answer(buffer[:n]); err != nil {
			s.err = err
			return
		}
	}
}

func (s *server) answer(request []byte) error {
	operation, unique := binary.NativeEndian.Uint32(request[4:]), request[8:16]
	if operation == opForget || operation == opBatchForget || operation == opInterrupt {
		return nil // these want no answer
	}
	body, problem := s.do(operation, request[inHeader:])
	answer := make([]byte, outHeader, outHeader+len(body))
	binary.NativeEndian.PutUint32(answer, uint32(outHeader+len(body))) //nolint:gosec // at most largestWrite and a little
	binary.NativeEndian.PutUint32(answer[4:], uint32(-int32(problem))) //nolint:gosec // errno is small
	copy(answer[8:], unique)
	_, err := s.kept.Write(append(answer, body...))
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENODEV), errors.Is(err, os.ErrClosed):
		return nil // nobody waits for it any more
	case err != nil:
		return fmt.Errorf("answering request %d for the disk: %w", operation, err)
	}
	return nil
}

func (s *server) do(operation uint32, request []byte) ([]byte, syscall.Errno) {
	switch operation {
	case opInit:
		return initialize(request), 0
	case opGetAttr, opSetAttr:
		// Nothing but times is ever set.
		return s.attributes(), 0
	case opOpen:
		opened := make([]byte, 16)
		binary.NativeEndian.PutUint32(opened[8:], pastTheCache)
		return opened, 0
	case opRelease, opFlush, opDestroy:
		return nil, 0
	case opStatFS:
		return make([]byte, fileSystemStatus), 0
	case opRead, opWrite, opFSync:
		if !s.disk.alive() {
			return nil, syscall.EIO
		}
		return s.transfer(operation, request)
	}
	return nil, syscall.ENOSYS
}

func (s *server) transfer(operation uint32, request []byte) ([]byte, syscall.Errno) {
	if operation == opFSync {
		s.disk.flush()
		return nil, 0
	}
	if len(request) < readWriteHeader {
		return nil, syscall.EINVAL
	}
	offset, size := int64(binary.NativeEndian.Uint64(request[8:])), int64(binary.NativeEndian.Uint32(request[16:])) //nolint:gosec // compared below
	if offset < 0 || offset > s.disk.size {
		return nil, syscall.EINVAL
	}
	size = min(size, s.disk.size-offset)
	if operation == opRead {
		data := make([]byte, size)
		s.disk.readAt(data, offset)
		return data, 0
	}
	data := request[readWriteHeader:]
	if int64(len(data)) < size {
		return nil, syscall.EINVAL
	}
	s.disk.writeAt(data[:size], offset)
	written := make([]byte, 8)
	binary.NativeEndian.PutUint32(written, uint32(size)) //nolint:gosec // at most largestWrite
	return written, 0
}

func initialize(request []byte) []byte {
	answer := make([]byte, initAnswer)
	order := binary.NativeEndian
	order.PutUint32(answer, protocolMajor)
	order.PutUint32(answer[4:], protocolMinor)
	if len(request) >= 12 {
		copy(answer[8:12], request[8:12]) // as much read ahead as the kernel likes
	}
	order.PutUint32(answer[12:], bigWrites|manyPages)
	order.PutUint16(answer[16:], 16) // requests in the background
	order.PutUint16(answer[18:], 12) // of which so many are many
	order.PutUint32(answer[20:], largestWrite)
	order.PutUint32(answer[24:], 1) // time is kept to the nanosecond
	order.PutUint16(answer[28:], pages)
	return answer
}

func (s *server) attributes() []byte {
	answer := make([]byte, 16+attributes)
	order := binary.NativeEndian
	order.PutUint64(answer, 3600) // valid for an hour: they do not change
	a := answer[16:]
	order.PutUint64(a, rootNode)
	order.PutUint64(a[8:], uint64(s.disk.size))      //nolint:gosec // not negative
	order.PutUint64(a[16:], uint64(s.disk.size)/512) //nolint:gosec // not negative
	order.PutUint32(a[60:], syscall.S_IFREG|0o600)
	order.PutUint32(a[64:], 1)
	order.PutUint32(a[80:], blockSize)
	return answer
}
