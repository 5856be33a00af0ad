// A module of its own: what these tests need to read YAML and HCL stays out of the product's dependencies.
module github.com/emr-static-ip/emr-static-ip/scripts/templates

go 1.26.0

require go.yaml.in/yaml/v3 v3.0.4
