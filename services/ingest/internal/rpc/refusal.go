package rpc

import (
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
)

// refusal is why a submission is not taken.
type refusal struct {
	*keep.Problem
	// violations are what is wrong with it, for http.StatusBadRequest only.
	violations []*ingestv1.Violation
}

func refused(status int, kind, detail string) *refusal {
	return &refusal{Problem: &keep.Problem{Status: status, Kind: kind, Detail: detail}}
}

// of is the refusal for a problem, nil for none. What is too large is wrong in one place.
func of(p *keep.Problem, field string) *refusal {
	if p == nil {
		return nil
	}
	r := &refusal{Problem: p}
	if r.code() == codes.InvalidArgument {
		r.violations = []*ingestv1.Violation{{Field: field, Description: p.Detail}}
	}
	return r
}

func violated(violations ...*ingestv1.Violation) *refusal {
	first := violations[0]
	r := refused(http.StatusBadRequest, "invalid", first.GetField()+": "+first.GetDescription())
	r.violations = violations
	return r
}

// passes reports whether the same may be taken later.
func (r *refusal) passes() bool { return r.Status >= http.StatusInternalServerError }

func (r *refusal) code() codes.Code {
	switch {
	case r.Status == http.StatusUnauthorized:
		return codes.Unauthenticated
	case r.Status == http.StatusNotFound:
		return codes.NotFound
	case !r.passes():
		return codes.InvalidArgument
	case r.Kind == "full" || r.Kind == "overloaded":
		return codes.ResourceExhausted
	}
	return codes.Unavailable
}

// status is the refusal as a caller gets it; prefix goes before the fields. With a
// progress it is the end of a stream.
func (r *refusal) status(prefix string, progress *ingestv1.Progress) error {
	var details []protoadapt.MessageV1
	if len(r.violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range r.violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: prefix + v.GetField(), Description: v.GetDescription(), Reason: r.Kind,
			})
		}
		details = append(details, protoadapt.MessageV1Of(bad))
	}
	if r.RetryAfter > 0 {
		details = append(details, protoadapt.MessageV1Of(&errdetails.RetryInfo{RetryDelay: durationpb.New(r.RetryAfter)}))
	}
	if progress != nil {
		details = append(details, protoadapt.MessageV1Of(progress))
	}
	s := status.New(r.code(), r.Detail)
	if complete, err := s.WithDetails(details...); err == nil {
		s = complete
	}
	return s.Err()
}

// Busy is the answer to a call that is too many, before anything of it is read.
func Busy(detail string) error {
	return of(keep.Unavailable("overloaded", detail, keep.Soon), "").status("", nil)
}
