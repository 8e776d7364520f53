from genifer.cli import main

main()
