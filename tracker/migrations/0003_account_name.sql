-- Accounts are looked up by how their names begin. text_pattern_ops compares bytes, whatever the database's collation.
create index account_name on account (lower(name) text_pattern_ops);
