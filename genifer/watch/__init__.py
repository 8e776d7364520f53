"""`genifer watch`: where runs stand, from the files that their stages write."""
