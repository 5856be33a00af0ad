package cloud

import (
	"slices"
	"strings"
	"time"
)

// instanceType has the network limits that EC2 publishes for a type.
type instanceType struct {
	enis      int
	addresses int // IPv4 addresses of one ENI, including the primary one
	arm       bool
}

func (t instanceType) architecture() string {
	if t.arm {
		return "arm64"
	}
	return "x86_64"
}

// instanceFamilies are the families that EMR offers most. A size has the same limits in all of
// them. Names of Graviton families end in "g".
const instanceFamilies = "m5 m5a m5d c5 c5d r5 r5a r5d m6i c6i r6i m7i c7i r7i m6g c6g r6g m7g c7g r7g"

const instanceSizes = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"

// typeOf returns an instance type by its name.
func typeOf(name string) (t instanceType, ok bool) {
	switch name {
	case "t3.nano", "t3.micro":
		return instanceType{enis: 2, addresses: 2}, true
	case "t3.small":
		return instanceType{enis: 3, addresses: 4}, true
	case "t3.medium":
		return instanceType{enis: 3, addresses: 6}, true
	}
	family, size, _ := strings.Cut(name, ".")
	switch size {
	case "large":
		t = instanceType{enis: 3, addresses: 10}
	case "xlarge", "2xlarge":
		t = instanceType{enis: 4, addresses: 15}
	case "4xlarge", "8xlarge", "12xlarge":
		t = instanceType{enis: 8, addresses: 30}
	case "16xlarge", "24xlarge":
		t = instanceType{enis: 15, addresses: 50}
	default:
		return t, false
	}
	t.arm = strings.HasSuffix(family, "g")
	return t, family != "" && strings.Contains(" "+instanceFamilies+" ", " "+family+" ")
}

// typeNames returns the names of all types, sorted.
func typeNames() []string {
	names := []string{"t3.nano", "t3.micro", "t3.small", "t3.medium"}
	for family := range strings.FieldsSeq(instanceFamilies) {
		for size := range strings.FieldsSeq(instanceSizes) {
			names = append(names, family+"."+size)
		}
	}
	slices.Sort(names)
	return names
}

func prepareDescribeInstanceTypes(r *request) (*operation, *Error) {
	d := r.query.describeInput("InstanceType", 5, 100, "instance-type", "processor-info.supported-architecture")
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		names, missing := []string{}, []string{}
		for _, n := range d.ids {
			if _, ok := typeOf(n); ok {
				names = append(names, n)
			} else {
				missing = append(missing, printable(n))
			}
		}
		if len(missing) > 0 {
			return ec2Error("InvalidInstanceType", "The following supplied instance types do not exist: ["+strings.Join(missing, ", ")+"]")
		}
		if len(d.ids) == 0 {
			names = typeNames()
		}
		names = slices.DeleteFunc(names, func(n string) bool {
			return !matches(d.filters, nil, func(field string, yield func(string) bool) {
				switch field {
				case "instance-type":
					yield(n)
				case "processor-info.supported-architecture":
					it, _ := typeOf(n)
					yield(it.architecture())
				}
			})
		})
		from, to, token := d.page(len(names))
		x.open("instanceTypeSet")
		for _, n := range names[from:to] {
			it, _ := typeOf(n)
			x.open("item")
			x.text("instanceType", n)
			x.open("processorInfo")
			x.open("supportedArchitectures")
			x.text("item", it.architecture())
			x.close("supportedArchitectures")
			x.close("processorInfo")
			x.open("networkInfo")
			x.number("maximumNetworkInterfaces", it.enis)
			x.number("ipv4AddressesPerInterface", it.addresses)
			x.close("networkInfo")
			x.close("item")
		}
		x.close("instanceTypeSet")
		x.text("nextToken", token)
		return nil
	})
}
