package templates

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// groupText matches the descriptions that EC2 accepts for security groups in a VPC and for their
// rules. EC2 refuses an apostrophe, for example:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html
var groupText = regexp.MustCompile(`^[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,255}$`)

func TestGroupDescriptions(t *testing.T) {
	found := 0
	check := func(t *testing.T, where string, text any) {
		t.Helper()
		if text == nil {
			return
		}
		found++
		if s, ok := text.(string); !ok || !groupText.MatchString(s) {
			t.Errorf("%s: EC2 refuses the description %q", where, text)
		}
	}
	for _, name := range templateNames(t) {
		for logical, r := range load(t, name).resources {
			resource := r.(object)
			if !strings.HasPrefix(resource["Type"].(string), "AWS::EC2::SecurityGroup") {
				continue
			}
			where := name + "." + logical
			properties := resource["Properties"].(object)
			check(t, where, properties["GroupDescription"])
			check(t, where, properties["Description"])
			walk([]any{properties["SecurityGroupIngress"], properties["SecurityGroupEgress"]}, func(v any) {
				if rule, ok := v.(object); ok && rule["IpProtocol"] != nil {
					check(t, where, rule["Description"])
				}
			})
		}
	}
	if found < 15 {
		t.Errorf("found only %d descriptions in the templates", found)
	}
	found = 0
	for _, dir := range moduleDirs(t) {
		m := loadModule(t, dir)
		for name, b := range m.declared {
			if !strings.Contains(name, "security_group") || strings.HasPrefix(name, "data.") {
				continue
			}
			attribute := b.Body.Attributes["description"]
			if attribute == nil {
				continue
			}
			for _, text := range literals(attribute.Expr) {
				check(t, dir+" "+name, text)
			}
			// A description with each.key or each.value contains the texts of the for_each
			// expression.
			if each := b.Body.Attributes["for_each"]; each != nil {
				for _, traversal := range each.Expr.Variables() {
					if w := append(words(traversal), ""); w[0] == "local" {
						for _, text := range literals(m.locals[w[1]].Body.Attributes[w[1]].Expr) {
							check(t, dir+" "+name+" local."+w[1], text)
						}
					}
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("found only %d descriptions in the modules", found)
	}
}

// literals returns the literal texts in an expression.
func literals(e hclsyntax.Expression) (texts []string) {
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		if l, ok := n.(*hclsyntax.LiteralValueExpr); ok && l.Val.Type().FriendlyName() == "string" && l.Val.AsString() != "" {
			texts = append(texts, l.Val.AsString())
		}
		return nil
	})
	return texts
}
