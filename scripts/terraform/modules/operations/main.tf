# emr-static-ip on running clusters: an SSM document that installs, runs, checks or upgrades emr-static-ip on a cluster's nodes, and a State Manager
# association that does so on a schedule and on each new node.

locals {
  base = "s3://${var.bucket}/${var.prefix}"
  document = {
    schemaVersion = "2.2"
    description   = "Installs, runs, checks or upgrades emr-static-ip on a node of an EMR cluster"
    parameters = {
      Action = {
        type          = "String"
        description   = "check (status), doctor, install, run (with Arguments), upgrade (and repeat the last run)"
        default       = "check"
        allowedValues = ["check", "doctor", "install", "run", "upgrade"]
      }
      Arguments = {
        type           = "String"
        description    = "Of run and doctor - addresses and flags, with blanks between them; empty repeats the last run"
        default        = ""
        allowedPattern = "^[A-Za-z0-9 .,:/=_-]{0,1000}$"
      }
      Base = {
        type          = "String"
        description   = "Where emr-static-ip is published"
        default       = local.base
        allowedValues = [local.base]
      }
    }
    mainSteps = [{
      action       = "aws:runShellScript"
      name         = "node"
      precondition = { StringEquals = ["platformType", "Linux"] }
      inputs = {
        timeoutSeconds = "1200"
        runCommand     = [file("${path.module}/node.sh")]
      }
    }]
  }
}

resource "aws_ssm_document" "node" {
  name            = "${var.name}-node"
  document_type   = "Command"
  document_format = "JSON"
  target_type     = "/AWS::EC2::Instance"
  tags            = merge(var.tags, { Name = "${var.name}-node" })
  content         = jsonencode(local.document)
}

resource "aws_ssm_association" "node" {
  count               = var.cluster_id != null ? 1 : 0
  association_name    = var.name
  name                = aws_ssm_document.node.name
  document_version    = "$DEFAULT"
  schedule_expression = var.schedule
  max_concurrency     = "10"
  max_errors          = "100%"
  compliance_severity = "HIGH"
  parameters = {
    Action    = var.action
    Arguments = var.arguments == null ? "" : var.arguments
  }
  targets {
    key    = "tag:aws:elasticmapreduce:job-flow-id"
    values = [var.cluster_id]
  }
}
