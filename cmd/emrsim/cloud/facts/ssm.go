package facts

func parameters() []Fact {
	return []Fact{
		documented("rate-ssm", "3 PutParameter a second for each account and region (10 with paid throughput); 3 DeleteParameter (5); 40 reads of all kinds together", "`--ssm-put-rate`; `ssmcoord.RecordSoon`; `cloud.DefaultQuotas`, `cloud.PaidQuotas`", quotas),
		unverified("ssm-burst", "The burst of these quotas is the calls of one second", "", "Throttled calls are repeated until the deadline: `ec2.retryThrottleMax`. `cloud.WithSSMBurst`"),
		documented("ssm-concurrent-updates", "Two changes of one parameter at the same time: TooManyUpdates for one of them", "Repeated, as after throttling. `cloud.Options.ConcurrentUpdates`", ssmAPI+"API_PutParameter.html"),
		documented("ssm-limit", "At most 10,000 standard parameters for each account and region: ParameterLimitExceeded", "Exit code 1 at once, with a remedy of its own. `cloud.maxParameters`", quotas),
		unverified("ssm-read-lag", "A read shows the last write", "the API reference promises nothing; delays above a second were never reported", "`ssmcoord.ReadLag`, 10 s; the bound is a choice. `cloud.Options.StaleSSM`"),
		documented("ssm-unconditional", "There is no compare-and-swap. DeleteParameter is unconditional", "Only the holder of an address writes or deletes its record: `ssmcoord.Ledger.Delete`", ssmAPI+"API_PutParameter.html", ssmAPI+"API_DeleteParameter.html"),
		unverified("ssm-concurrent-creates", "Of two creations of one name at once only one succeeds", "", "Nothing depends on it: `ssmcoord.Ledger.Write`. `cloud.Options.ConcurrentCreates`"),
		documented("ssm-recreate-wait", "After DeleteParameter AWS asks for at least 30 s before the name is created again", "`ssmcoord.RecreateAfter`, `cloud.RecreateWait`", ssmAPI+"API_DeleteParameter.html"),
		unverified("ssm-recreate", "A creation before these 30 s is accepted, and stays: it is not refused (TooManyUpdates), and not lost", "", "A record that is missing is written again: `ssmcoord.Coordinator`. `cloud.Options.Recreate`"),
		documented("ssm-names-per-read", "GetParameters takes at most 10 names; unknown ones come back as invalid", "`ssmcoord.NamesPerRead`", ssmAPI+"API_GetParameters.html"),
		documented("ssm-pages", "GetParametersByPath returns at most 10 a page, and may return an empty page with a token", "The ledger is read to the end of the tokens: `ssmcoord.Ledger.Claims`. `cloud.Options.EmptyPages`", ssmAPI+"API_GetParametersByPath.html"),
		documented("ssm-exists", "PutParameter without Overwrite on a name that exists: ParameterAlreadyExists. A name that does not exist, on reading or deleting: ParameterNotFound", "`ssmcoord.Ledger.Create`, `ssmcoord.Ledger.Delete`", ssmAPI+"API_PutParameter.html", ssmAPI+"API_DeleteParameter.html"),
		documented("ssm-names", "Names have letters, digits and _.-/, begin with a slash if they have one, and not with aws or ssm", "The flag `--prefix` is checked before anything is changed: `cli.parsePrefix`. `cloud.checkNewName`", ssmAPI+"API_PutParameter.html"),
		documented("ssm-template", "A value with {{ }} is refused, since it would name another parameter", "Records have none: `ssmcoord.Record`. `cloud.checkValue`", ssmAPI+"API_PutParameter.html"),
		documented("ssm-bounds", "A standard parameter has at most 4 KB; a name at most 15 levels", "`ssmcoord.MaxRecord`; `--prefix` has at most 13 levels", ssmAPI+"API_PutParameter.html"),
		documented("ssm-tags-overwrite", "Tags and Overwrite together: ValidationException. Tags of an existing parameter are set by AddTagsToResource", "Records have tags only with `--claim-tag`: `ssmcoord.Ledger.writeTagged`", ssmAPI+"API_PutParameter.html", github+"hashicorp/terraform-provider-aws/issues/18550"),
		documented("ssm-tags-demanded", "A policy that demands tags in PutParameter denies every overwriting", "`ssmcoord.Ledger.writeTagged` deletes the node's own record, and creates it 30 s later", github+"aws/aws-cli/issues/5162"),
		documented("ssm-tag-form", "Tag keys have 1 to 128 characters, values up to 256, of letters, digits, blanks and a few marks", "`tag.ParseList`", ssmAPI+"API_Tag.html"),
		documented("ssm-tag-limit", "More than 50 tags: TooManyTagsError", "Exit code 2: `ssmcoord.TagError`", ssmAPI+"API_AddTagsToResource.html"),
		unverified("ssm-tag-policy", "A tag that a tag policy of AWS Organizations does not allow is refused with a code with Tag, or with a ValidationException", "", "Every code with Tag, and a ValidationException about tags, is a `ssmcoord.TagError`. `cloud.Unverified.TagPolicy`"),
		unverified("ssm-tag-permission", "PutParameter with tags needs ssm:AddTagsToResource too", "", "`agent/iam/claim-tags-policy.json` allows it. `cloud.Unverified.TagsAlone`"),
	}
}
