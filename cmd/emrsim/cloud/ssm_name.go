package cloud

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Limits of Parameter Store's standard tier. AWS documents 4 KB for a value, and its message says
// characters. The model counts bytes, which is the stricter one.
const (
	maxValue      = 4096
	maxParameters = 10000
	maxLevels     = 15
	maxName       = 1011
)

func ssmError(code, message string) *Error {
	return &Error{Code: code, Message: message, Status: http.StatusBadRequest}
}

func validation(format string, args ...any) *Error {
	return ssmError("ValidationException", fmt.Sprintf(format, args...))
}

// checkNewName checks the name of a parameter to create or change.
func checkNewName(name string) *Error {
	const plain = `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`
	const rule = `Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`
	switch first := strings.ToLower(strings.TrimPrefix(name, "/")); {
	case name == "":
		return validation("1 validation error detected: Value '' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case utf8.RuneCountInString(name) > maxName:
		return validation("Parameter name must not be longer than %d characters.", maxName)
	case strings.HasPrefix(first, "aws"):
		if strings.HasPrefix(name, "/") {
			return ssmError("AccessDeniedException", "No access to reserved parameter name: "+printable(name)+".")
		}
		return validation("%s", plain)
	case strings.HasPrefix(first, "ssm") && !strings.HasPrefix(name, "/"):
		return validation("%s", plain)
	case strings.HasPrefix(first, "ssm"):
		return validation("%s", rule)
	case strings.Contains(name, "/") && !strings.HasPrefix(name, "/"):
		return validation("Parameter name must be a fully qualified name.")
	case strings.HasSuffix(name, "/") || strings.Contains(name, "//"):
		return validation("%s", rule)
	case strings.Count(name, "/") > maxLevels:
		return ssmError("HierarchyLevelLimitExceededException", "Parameter name's hierarchy has more than the maximum of 15 levels.")
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-/", r)) {
			return validation("%s", rule)
		}
	}
	return nil
}

// checkReadName checks the name of a parameter to read. Versions (name:3), labels and ARNs are not
// implemented.
func checkReadName(name string) *Error {
	switch {
	case name == "":
		return validation("1 validation error detected: Value '' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case strings.Contains(name, ":"):
		return notImplemented("parameter names with a version, a label or an ARN (" + printable(name) + ")")
	}
	return nil
}

func checkValue(value string) *Error {
	switch {
	case value == "":
		return validation("1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case len(value) > maxValue:
		return validation("Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html")
	case strings.Contains(value, "{{"):
		return validation("Parameter value can't nest another parameter. Do not use {{}} in the value.")
	}
	return nil
}

func (c *Cloud) parameterARN(name string) string {
	return "arn:aws:ssm:" + c.opts.Region + ":" + c.opts.Account + ":parameter/" + strings.TrimPrefix(name, "/")
}

// parameterARNs returns the ARNs of parameters for the policy. It returns nil if there is no
// policy.
func (c *Cloud) parameterARNs(names ...string) []string {
	if c.opts.Authorize == nil {
		return nil
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = c.parameterARN(n)
	}
	return out
}
