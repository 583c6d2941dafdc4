"""Reports for people: tables, pages and figures."""
